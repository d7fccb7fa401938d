"""The closed-form head of a descendant."""

import numpy as np
import pytest
import torch

from genepool_client.consumer.descendant.head import fit_head
from genepool_protocol.selection import discriminant


def clouds(each, classes, width, rng, *, spread=0.3, shift=0.0):
    """Features around one random centre per class."""
    centres = rng.standard_normal((classes, width))
    labels = np.repeat(np.arange(classes), each)
    features = centres[labels] + spread * rng.standard_normal((len(labels), width)) + shift
    return features.astype(np.float32), labels, centres


def test_the_head_is_the_discriminant_that_tals_scores_with():
    features, labels, _ = clouds(6, 3, 5, np.random.default_rng(0))
    head, found = (
        fit_head(features, labels),
        discriminant.fit(torch.from_numpy(features).double(), torch.from_numpy(labels)),
    )
    assert np.array_equal(head.weight, found.weight.float().numpy())
    assert np.array_equal(head.bias, found.bias.float().numpy())
    assert head.weight.dtype == head.bias.dtype == np.float32


@pytest.mark.parametrize("each", [1, 5, 50])
@pytest.mark.parametrize("width", [4, 128])
def test_a_head_names_images_near_the_classes_it_saw(each, width):
    rng = np.random.default_rng(each)
    features, labels, centres = clouds(each, 3, width, rng, spread=0.1, shift=20.0)
    head = fit_head(features, labels)
    assert head.weight.shape == (3, width)
    assert (((centres + 20.0) @ head.weight.T + head.bias).argmax(axis=1) == np.arange(3)).all()


def test_the_scale_of_the_features_does_not_change_the_answer():
    features, labels, _ = clouds(5, 4, 16, np.random.default_rng(3))
    one, other = fit_head(features, labels), fit_head(1000 * features, labels)
    assert np.allclose(features @ one.weight.T + one.bias, 1000 * features @ other.weight.T + other.bias, atol=1e-3)


def test_features_that_say_nothing_favour_no_class():
    head = fit_head(np.ones((4, 3), dtype=np.float32), np.array([0, 1, 1, 1]))
    assert np.allclose(np.ones(3) @ head.weight.T + head.bias, 0.0)
