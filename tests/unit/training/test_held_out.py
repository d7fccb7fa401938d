"""What is held out: a share of each class, groups as a whole; and what an accuracy on few images is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_client.training.held_out import HeldOutAccuracy, split

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array)


@given(labels=LABELS, patients=st.integers(1, 12), share=st.sampled_from([0.1, 0.2]), data=st.data())
def test_a_group_is_on_one_side_and_each_class_keeps_two_thirds(labels, patients, share, data):
    groups = np.array(data.draw(st.lists(st.integers(0, patients), min_size=len(labels), max_size=len(labels))))
    trained, held = split(labels, share, 0, groups=groups)
    assert sorted([*trained, *held]) == list(range(len(labels)))
    assert not set(groups[trained]) & set(groups[held])
    assert (3 * np.bincount(labels[held], minlength=4) <= np.bincount(labels, minlength=4)).all()


def test_neighbours_of_one_patient_do_not_lie_on_both_sides():
    labels, patients = np.repeat([0, 1], 100), np.arange(200) // 10
    _, held = split(labels, 0.1, 0, groups=patients)
    assert np.bincount(labels[held]).tolist() == [10, 10]
    assert len(set(patients[held])) == 2


def test_one_patient_in_two_classes_is_one_group():
    labels, patients = np.tile([0, 1], 60), np.arange(120) // 6
    trained, held = split(labels, 0.1, 0, groups=patients)
    assert len(held) == 12
    assert not set(patients[trained]) & set(patients[held])


def test_images_are_drawn_and_not_taken_in_the_order_of_their_files():
    held = split(np.zeros(100, dtype=np.int64), 0.1, 0)[1]
    assert len(held) == 10
    assert len(set(np.diff(held))) > 1


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(10, 10, 0.722, 1.0), (0, 10, 0.0, 0.278), (81, 263, 0.255, 0.366), (0, 0, 0.0, 1.0)],
)
def test_intervals_are_wilsons(right, images, low, high):
    """The third is Newcombe's example (Statistics in Medicine 17, 1998, table I: 0.2553 to 0.3662)."""
    assert HeldOutAccuracy(right, images).interval == pytest.approx((low, high), abs=6e-4)
