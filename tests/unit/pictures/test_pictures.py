"""Images are decoded by a short list of decoders wherever we read one; an EPS file starts no program."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from genepool_client.consumer.select import support
from genepool_client.pictures import images
from genepool_client.pictures.decode import decode
from genepool_protocol.pictures import only_these, open_picture
from genepool_protocol.wire.errors import InvalidInput
from genepool_server.bake.corpus import read_corpus
from tests.support.genes import tiny_blueprint
from tests.support.images import write_classes

ROOT = Path(__file__).parents[3]
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 16 16
%%EndComments
0 0 16 16 rectfill
showpage
%%EOF
"""


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A file that is there once anything started `gs`."""
    folder, started = tmp_path / "bin", tmp_path / "started"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers what it found
    return started


@pytest.fixture
def disguised(tmp_path):
    """A data folder of two classes in which one `.png` is EPS."""
    folder = write_classes(tmp_path / "data" / "train", {"a": 2, "b": 2}, np.random.default_rng(0))
    (folder / "b" / "zz.png").write_bytes(EPS)
    return folder.parent


def test_bare_pillow_would_start_it(ghostscript, disguised):
    with Image.open(disguised / "train" / "b" / "zz.png") as picture, pytest.raises(OSError):  # noqa: TID251, PT011
        picture.load()
    assert ghostscript.exists()


def test_an_image_that_is_eps_is_refused_by_name_and_starts_nothing(ghostscript, disguised):
    path = disguised / "train" / "b" / "zz.png"
    with pytest.raises(InvalidInput) as caught:
        decode(path, 16)
    assert caught.value.reason == "IMAGE_UNREADABLE"
    assert str(path) in caught.value.message
    assert "JPEG, PNG" in caught.value.message
    assert not ghostscript.exists()


@pytest.mark.parametrize(
    "read",
    [
        lambda data: images.load_images(data, 16),
        lambda data: images.load_unlabelled(data, 16),
        lambda data: images.load_images("torch/image_folder", 16, root=data),
        lambda data: support.load(data / "train", tiny_blueprint()),
    ],
    ids=["site", "unlabelled", "timm", "support"],
)
def test_every_way_in_has_the_list(ghostscript, disguised, read):
    with pytest.raises(InvalidInput):
        read(disguised)
    assert not ghostscript.exists()


def test_a_corpus_has_the_list(ghostscript, disguised):
    with pytest.raises(UnidentifiedImageError):
        read_corpus(disguised, 16)
    assert not ghostscript.exists()


def test_other_libraries_get_pillow_back_as_it_was(tmp_path):
    before = Image.open  # noqa: TID251
    with pytest.raises(ValueError, match="inside"), only_these():
        assert Image.open is not before  # noqa: TID251
        raise ValueError("inside")
    assert Image.open is before  # noqa: TID251


def test_nobody_opens_an_image_past_the_list():
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    own = {"protocol/genepool_protocol/pictures.py", str(Path(__file__).relative_to(ROOT))}
    bare = []
    for name in set(tracked.stdout.split()) - own:
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "open" and getattr(node.value, "id", "") == "Image":
                bare.append(f"{name}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.module == "PIL.Image":
                bare.append(f"{name}:{node.lineno}")
    assert not bare


def test_the_linter_refuses_a_bare_open():
    code = 'from PIL import Image\n\nImage.open("x")\n'
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", "client/x.py", "-"]
    answer = subprocess.run(command, input=code, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "TID251" in answer.stdout


def test_plain_formats_pass(tmp_path):
    for name in ("a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.ppm"):
        Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / name)
        with open_picture(tmp_path / name) as picture:
            assert picture.size == (4, 4)
