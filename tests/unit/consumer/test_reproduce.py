"""Doing the pool's work again: a descendant that was not added up from its learngenes is found out."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from genepool_client.consumer.descendant.verify import verify
from genepool_client.consumer.reproduce import rebuild
from genepool_protocol.learngene.blueprint import bundled_folder
from genepool_protocol.learngene.size import Size
from genepool_protocol.wire.errors import GenepoolError


def test_the_learngenes_give_the_same_bytes(forge, folder, tmp_path):
    said = rebuild(verify(folder, forge.trusted), forge.folder, tmp_path / "cache")
    assert "2 learngenes" in said


@pytest.mark.parametrize("size", [Size(1, 1), Size(5, 2)])
def test_every_size_can_be_rebuilt(forge, members, tmp_path, size):
    made = forge.descend(tmp_path / "out", forge.order([(one, 333) for one in members], size))
    rebuild(verify(made, forge.trusted), forge.folder, tmp_path / "cache")


def test_weights_that_do_not_come_from_the_learngenes_are_found_out(forge, order, tmp_path):
    raw = bytearray(forge.model(order))
    raw[-5000:-4996] = np.float32(0.123).tobytes()
    folder = forge.lie(tmp_path / "lie", order, model=bytes(raw))
    verified = verify(folder, forge.trusted)
    with pytest.raises(GenepoolError) as caught:
        rebuild(verified, forge.folder, tmp_path / "cache")
    assert caught.value.reason == "REBUILD_DIFFERS"


def test_a_learngene_that_is_not_there_is_named(forge, folder, order, tmp_path):
    shutil.copytree(forge.folder / "blueprint", tmp_path / "only-the-seed")
    with pytest.raises(GenepoolError, match="site-") as caught:
        rebuild(verify(folder, forge.trusted), tmp_path / "only-the-seed", tmp_path / "cache")
    assert caught.value.reason == "FILE_MISSING"


def test_a_folder_that_is_not_there_is_bad_input(forge, folder, tmp_path):
    with pytest.raises(GenepoolError) as caught:
        rebuild(verify(folder, forge.trusted), tmp_path / "nothing", tmp_path / "cache")
    assert caught.value.reason == "PATH_MISSING"


def test_a_seed_that_the_package_does_not_ship_is_looked_for_elsewhere(forge, folder, tmp_path):
    """A bundled blueprint may come without its seed: that is no reason to end in a traceback."""
    found = verify(folder, forge.trusted)
    named = replace(found, blueprint=found.blueprint.model_copy(update={"name": "vit-s14"}))
    assert not (bundled_folder("vit-s14") / "seed.safetensors").exists()
    with pytest.raises(GenepoolError) as caught:  # only the name is that of the bundled one
        rebuild(named, tmp_path, tmp_path / "cache")
    assert caught.value.reason == "FILE_MISSING"
    assert "2 learngenes" in rebuild(named, forge.folder, tmp_path / "cache")
