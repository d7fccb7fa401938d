"""One walker for every folder: nothing twice, nothing silently left out, and what has two readings is refused."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from genepool_client.pictures import walker
from genepool_client.pictures.images import check_source, load_images
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from tests.support.images import write_classes


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / "data", {"a": 3, "b": 2}, np.random.default_rng(0))


def sizes(tree: walker.ImageTree) -> dict[str, int]:
    return {kind.name: len(kind.files) for kind in tree.classes}


def refusal(call, *arguments, **options) -> GenepoolError:
    with pytest.raises(InvalidInput) as caught:
        call(*arguments, **options)
    return caught.value


def test_a_link_to_where_one_came_from_adds_nothing(folder):
    (folder / "a" / "all").symlink_to(".")
    (folder / "a" / "up").symlink_to("../..")
    assert sizes(walker.read(folder)) == {"a": 3, "b": 2}


def test_a_file_is_one_image_however_many_links_lead_there(folder):
    (folder / "a" / "again.png").symlink_to("000.png")
    os.link(folder / "a" / "001.png", folder / "a" / "hard.png")
    (folder / "a" / "deep").mkdir()
    (folder / "a" / "deep" / "002.png").symlink_to("../002.png")
    assert sizes(walker.read(folder)) == {"a": 3, "b": 2}


def test_folders_of_links_are_read_as_the_folders_themselves(folder, tmp_path):
    (tmp_path / "links" / "b").mkdir(parents=True)
    (tmp_path / "links" / "a").symlink_to(folder / "a", target_is_directory=True)
    for path in (folder / "b").iterdir():
        (tmp_path / "links" / "b" / path.name).symlink_to(path)
    assert load_images(tmp_path / "links", 8).digest == load_images(folder, 8).digest


@pytest.mark.parametrize("target", ["../b", "../b/000.png"])
def test_what_a_link_puts_into_two_classes_is_refused_with_both(folder, target):
    (folder / "a" / f"more{Path(target).suffix}").symlink_to(target)
    error = refusal(walker.read, folder)
    assert error.reason == "FOLDER_AMBIGUOUS"
    assert "'a' and 'b'" in error.message


def test_a_link_to_nothing_is_named(folder):
    (folder / "a" / "gone.png").symlink_to("nowhere.png")
    error = refusal(walker.read, folder)
    assert (error.reason, "gone.png leads to no file" in error.message) == ("IMAGE_UNREADABLE", True)


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "lost+found", "#recycle", "$RECYCLE.BIN", ".thumbnails"])
@pytest.mark.parametrize("place", ["", "a"])
def test_what_systems_put_there_is_passed_over_by_everybody(folder, name, place):
    write_classes(folder / place / name, {"x": 2}, np.random.default_rng(1))
    assert sizes(walker.read(folder)) == {"a": 3, "b": 2}
    assert walker.count(folder, 99) == len(walker.images(folder)) == 5


@pytest.mark.parametrize("names", [("Training", "Testing"), ("Train", "Val", "Test"), ("train", "VALIDATION")])
def test_splits_are_known_in_any_case_and_the_training_split_is_told(tmp_path, names):
    for place, name in enumerate(names):
        write_classes(tmp_path / name, {"a": 2, "b": 3 + place}, np.random.default_rng(place))
    assert sizes(walker.read(tmp_path)) == {"a": 2, "b": 3}
    found = load_images(tmp_path, 8)
    assert found.classes == ["a", "b"]
    assert names[0] in found.notes[0]


def test_splits_beside_other_folders_are_no_splits(tmp_path):
    write_classes(tmp_path, {"train": 2, "plane": 2, "test": 1}, np.random.default_rng(0))
    assert sizes(walker.read(tmp_path)) == {"plane": 2, "test": 1, "train": 2}


@pytest.mark.parametrize("names", [("test", "val"), ("train", "Train"), ("train", "training", "test")])
def test_splits_without_one_for_training_are_refused_with_both_readings(tmp_path, names):
    for name in names:
        write_classes(tmp_path / name, {"a": 2, "b": 2}, np.random.default_rng(0))
    error = refusal(walker.read, tmp_path)
    assert error.reason == "FOLDER_AMBIGUOUS"
    assert "classes, or splits" in error.message


def test_images_without_class_folders_in_splits_are_no_classes(tmp_path):
    write_classes(tmp_path, {"Training": 3, "Testing": 2}, np.random.default_rng(0))
    assert refusal(walker.read, tmp_path).reason == "FOLDER_AMBIGUOUS"


def nested(folder: Path) -> Path:
    for name in ("north", "south"):
        write_classes(folder / name, {"x": 2, "y": 2}, np.random.default_rng(len(name)))
    return folder


@pytest.mark.parametrize("call", [walker.read, walker.check, check_source, lambda folder: load_images(folder, 8)])
def test_folders_in_all_class_folders_are_groups_or_data_sets_and_are_refused_with_both(tmp_path, call):
    error = refusal(call, nested(tmp_path))
    assert error.reason == "FOLDER_AMBIGUOUS"
    assert "groups" in error.message
    assert "data sets" in error.message
    assert "--groups" in error.fix


def test_groups_are_read_where_somebody_says_so(tmp_path):
    assert sizes(walker.read(nested(tmp_path), groups=True)) == {"north": 4, "south": 4}


def test_folders_beside_images_of_a_class_are_its_own(folder):
    write_classes(folder / "a", {"p1": 2, "p2": 2}, np.random.default_rng(1))
    assert sizes(walker.read(folder)) == {"a": 7, "b": 2}


def test_one_name_in_two_spellings_of_unicode_is_refused(tmp_path):
    write_classes(tmp_path, {"e\u0301": 1, "\u00e9": 1, "x": 1}, np.random.default_rng(0))
    assert refusal(walker.read, tmp_path).reason == "FOLDER_AMBIGUOUS"


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", "a\u202eb".encode()])
def test_a_class_name_that_cannot_be_written_everywhere_is_refused_at_once(folder, name):
    (folder / "b").rename(folder / os.fsdecode(name))
    for call in (walker.check, walker.read):
        error = refusal(call, folder)
        assert error.reason == "NAME_INVALID"
        error.diagnostics().encode()  # the sentence itself can be written


def told_as_nobody(folder: Path) -> str:
    """What a user who is not root hears, in a process of its own."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.setuid(65534)
            walker.read(folder)
        except InvalidInput as exc:
            os.write(writing, exc.diagnostics().encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        return said.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may read nothing")
@pytest.mark.parametrize("place", [".", "b", "a/deep"])
def test_a_folder_that_may_not_be_read_is_named(place):
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = write_classes(Path(name) / "data", {"a": 3, "b": 2}, np.random.default_rng(0))
        (folder / place).mkdir(exist_ok=True)
        (folder / place).chmod(0)
        said = told_as_nobody(folder)
    assert str(folder / place) in said
    assert "permission denied" in said
