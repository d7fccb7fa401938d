"""Fine-tuning: fair splits, training that learns, a folder that stock timm loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm

from genepool_client.consumer import finetune
from genepool_client.consumer.descendant import head_file
from genepool_client.consumer.descendant.head import Head
from genepool_client.consumer.descendant.verify import verify
from genepool_client.pictures.images import image_set, load_images
from genepool_protocol.wire.errors import GenepoolError
from tests.support.files import largest_file
from tests.support.images import write_classes


def labelled(labels, groups=None):
    labels = np.array(labels)
    pixels = np.zeros((len(labels), 8, 8, 3), dtype=np.uint8)
    return replace(image_set(pixels, labels, [str(label) for label in np.unique(labels)]), groups=groups)


def held_of(labels, seen=None, groups=None):
    nobody = np.zeros(len(labels), dtype=bool)
    return finetune.hold_out(labelled(labels, groups), 0, nobody if seen is None else seen)


@pytest.mark.parametrize(("count", "expected"), [(2, 1), (4, 1), (5, 1), (10, 2), (23, 4)])
def test_a_fifth_of_each_class_is_held_out(count, expected):
    labels = np.repeat([0, 1, 2], count)
    trained, held = held_of(labels)
    assert sorted([*trained, *held]) == list(range(len(labels)))
    assert [int((labels[held] == label).sum()) for label in range(3)] == [expected] * 3


def test_a_class_of_one_image_is_trained_on():
    trained, held = held_of([0, 0, 0, 1])
    assert 3 in trained
    assert len(held) == 1


def test_nothing_to_measure_on_is_refused():
    with pytest.raises(GenepoolError) as caught:
        held_of([0, 1, 2])
    assert caught.value.reason == "SUPPORT_TOO_SMALL"


def test_what_was_seen_is_never_held_out():
    labels = np.repeat([0, 1], 10)
    seen = np.arange(20) % 10 < 7
    trained, held = held_of(labels, seen)
    assert not seen[held].any()
    assert len(held) == 4
    assert sorted([*trained, *held]) == list(range(20))
    assert len(held_of(labels, np.ones(20, dtype=bool))[1]) == 0


def test_of_a_patient_that_was_seen_no_other_image_is_held_out():
    labels, patients = np.repeat([0, 1], 10), np.arange(20) // 2
    seen = np.arange(20) % 4 == 0  # one image of every second patient
    held = held_of(labels, seen, patients)[1]
    assert len(held)
    assert not set(patients[held]) & set(patients[seen])


def with_head(forge, folder, classes, shown):
    """The descendant with a head that was fitted on random numbers, and the images that it was selected on."""
    rng = np.random.default_rng(0)
    weight, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((len(classes), 16), len(classes)))
    head_file.write(folder, Head(weight, bias), classes, shown)
    return verify(folder, forge.trusted)


def test_with_random_labels_no_accuracy_is_told_on_images_that_were_shown(forge, folder, images):
    shown = replace(images, labels=np.random.default_rng(1).permutation(images.labels))
    verified = with_head(forge, folder, shown.classes, shown.pixels)
    tuned = finetune.finetune(verified, shown, finetune.FinetuneRecipe(epochs=1), lambda *_: None)
    assert (tuned.before, tuned.after, tuned.held, tuned.trained) == (None, None, 0, 20)
    assert tuned.says().startswith("no accuracy: the descendant was selected on all of these images")


def test_what_was_not_shown_is_measured_on_and_the_head_is_fitted_to_the_training_part(forge, folder, images):
    verified = with_head(forge, folder, images.classes, images.pixels[:4])
    tuned = finetune.finetune(verified, images, finetune.FinetuneRecipe(epochs=1), lambda *_: None)
    assert (tuned.held, tuned.trained, tuned.caveat) == (4, 16, "")
    assert tuned.before.share >= 0.75  # blobs are easy, and the folder's own head is of random numbers


def test_a_descendant_that_says_nothing_of_its_selection_has_a_caveat(forge, folder, images):
    tuned = finetune.finetune(verify(folder, forge.trusted), images, finetune.FinetuneRecipe(epochs=1), lambda *_: None)
    assert "if it was not selected on these very images" in tuned.says()


@pytest.fixture
def images(tmp_path):
    folder = write_classes(tmp_path / "data", {"a": 10, "b": 10}, np.random.default_rng(4))
    return load_images(folder, 16)


def test_training_is_repeatable_and_the_folder_credits_the_sites(forge, folder, images, tmp_path):
    verified = verify(folder, forge.trusted)
    recipe, seen = finetune.FinetuneRecipe(epochs=2, batch=8), []
    first = finetune.finetune(verified, images, recipe, lambda *progress: seen.append(progress))
    again = finetune.finetune(verified, images, recipe, lambda *_: None)
    assert [done for done, _, _ in seen] == [1, 2, 3, 4]
    for name, tensor in first.model.state_dict().items():
        assert tensor.equal(again.model.state_dict()[name]), name
    assert (first.trained, first.held, first.classes) == (16, 4, ("a", "b"))
    out = tmp_path / "tuned"
    with finetune.place(verified, out) as staging:
        finetune.write(first, verified, staging)
    card = (out / "README.md").read_text()
    assert "site-a" in card
    assert "Apache-2.0" in card
    assert json.loads((out / "config.json").read_text())["pretrained_cfg"]["label_names"] == ["a", "b"]
    stock = timm.create_model(f"local-dir:{out}", pretrained=True)
    assert stock.state_dict()["head.weight"].equal(first.model.state_dict()["head.weight"])


@pytest.mark.parametrize("steps", [*range(1, 12), 20])
def test_any_number_of_steps_is_a_schedule_and_comes_before_the_epochs(forge, folder, images, steps):
    """Four steps once divided by zero: a warm-up of a fifth of them was none."""
    verified, seen = verify(folder, forge.trusted), []
    recipe = finetune.FinetuneRecipe(epochs=99, batch=8, steps=steps)
    tuned = finetune.finetune(verified, images, recipe, lambda *progress: seen.append(progress))
    assert [(done, total) for done, total, _ in seen] == [(step + 1, steps) for step in range(steps)]
    assert all(tensor.isfinite().all() for tensor in tuned.model.state_dict().values())


def test_as_many_steps_as_the_epochs_take_give_the_same_net(forge, folder, images):
    verified, recipe = verify(folder, forge.trusted), finetune.FinetuneRecipe(epochs=2, batch=6)
    assert recipe.steps_an_epoch(16) == 3
    nets = [
        finetune.finetune(verified, images, given, lambda *_: None).model.state_dict()
        for given in (recipe, replace(recipe, epochs=1, steps=6))
    ]
    assert all(tensor.equal(nets[1][name]) for name, tensor in nets[0].items())


def test_a_folder_that_exists_is_not_overwritten(forge, folder, images, tmp_path):
    verified = verify(folder, forge.trusted)
    with pytest.raises(GenepoolError) as caught:
        finetune.place(verified, folder)
    assert caught.value.reason == "PATH_NOT_EMPTY"
    verify(folder, forge.trusted)


def test_a_disk_without_room_for_the_net_is_refused_before_the_training_and_nothing_stays(forge, folder, tmp_path):
    verified = verify(folder, forge.trusted)
    with largest_file(1000), pytest.raises(GenepoolError) as caught:
        finetune.place(verified, tmp_path / "tuned")
    assert caught.value.reason == "DISK_FULL"
    assert "ulimit -f" in caught.value.fix
    assert not [path for path in tmp_path.iterdir() if "tuned" in path.name]


def test_a_disk_that_fills_meanwhile_is_an_error_of_ours_and_nothing_stays(forge, folder, images, tmp_path):
    verified = verify(folder, forge.trusted)
    tuned = finetune.finetune(verified, images, finetune.FinetuneRecipe(epochs=1), lambda *_: None)
    placed = finetune.place(verified, tmp_path / "tuned")
    with pytest.raises(GenepoolError) as caught, placed as staging, largest_file(1000):
        finetune.write(tuned, verified, staging)
    assert caught.value.reason == "DISK_FULL"
    assert not [path for path in tmp_path.iterdir() if "tuned" in path.name]
