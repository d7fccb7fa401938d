"""The closed-form head against a slow reference that shares no code with it."""

import numpy as np
import pytest
import torch

from genepool_protocol.selection import discriminant
from tests.unit.selection.test_scoring import clouds


def fitted(x, labels, query):
    head = discriminant.fit(torch.from_numpy(x), torch.from_numpy(labels))
    return head(torch.from_numpy(query)).numpy()


def posterior_logits(x, labels, query, variance=None):
    """Minus half the Mahalanobis distance to each class mean; the covariance has a prior of `width` round images."""
    width, classes = x.shape[1], np.unique(labels)
    means = np.stack([x[labels == c].mean(axis=0) for c in classes])
    scatter = sum(np.outer(a - means[c], a - means[c]) for a, c in zip(x, labels, strict=True))
    spare = len(x) - len(classes)
    variance = np.trace(scatter) / (spare * width) if variance is None else variance
    inverse = np.linalg.inv((scatter + width * variance * np.eye(width)) / (spare + width))
    return np.array([[-0.5 * (q - m) @ inverse @ (q - m) for m in means] for q in query])


@pytest.mark.parametrize(("each", "width"), [(2, 5), (5, 4), (3, 40), (30, 6)])
def test_leave_one_out_logits_are_those_of_a_head_that_never_saw_the_image(each, width):
    x, labels = clouds(each, 3, width, seed=1)
    residual = x - np.stack([x[labels == c].mean(axis=0) for c in range(3)])[labels]
    variance = np.sum(residual**2) / ((len(x) - 3) * width)
    found = discriminant.leave_one_out(torch.from_numpy(x), torch.from_numpy(labels)).numpy()
    for out in range(len(x)):
        keep = np.arange(len(x)) != out
        wanted = posterior_logits(x[keep], labels[keep], x[out : out + 1], variance)[0]
        assert np.allclose(found[out] - found[out].mean(), wanted - wanted.mean(), atol=1e-7)


def test_a_fitted_head_orders_classes_as_the_reference_does():
    x, labels = clouds(5, 4, 10, seed=2, spread=1.5)
    query, _ = clouds(20, 4, 10, seed=3)
    wanted = posterior_logits(x, labels, query)
    assert (fitted(x, labels, query).argmax(axis=1) == wanted.argmax(axis=1)).all()


def test_with_one_image_a_class_the_nearest_image_decides():
    x, labels = clouds(1, 5, 8, seed=4)
    query = np.random.default_rng(5).standard_normal((50, 8))
    nearest = ((query[:, None] - x[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (fitted(x, labels, query).argmax(axis=1) == nearest).all()


def test_with_very_many_images_it_is_fishers_discriminant():
    rng = np.random.default_rng(6)
    mixing = rng.standard_normal((6, 6))
    labels = np.repeat([0, 1, 2], 2000)
    centres = rng.standard_normal((3, 6))
    x = centres[labels] + rng.standard_normal((6000, 6)) @ mixing
    residual = x - np.stack([x[labels == c].mean(axis=0) for c in range(3)])[labels]
    inverse = np.linalg.inv(residual.T @ residual / 6000)
    means = np.stack([x[labels == c].mean(axis=0) for c in range(3)])
    fisher = (x @ inverse @ means.T - 0.5 * np.sum(means @ inverse * means, axis=1)).argmax(axis=1)
    assert (fitted(x, labels, x).argmax(axis=1) == fisher).mean() > 0.99


def test_errors_are_those_of_probabilities_and_sharpness_is_chosen_for_them():
    labels = torch.tensor([0, 1, 0, 1])
    right = torch.eye(2, dtype=torch.float64)[labels]
    assert discriminant.errors(right, labels, discriminant.sharpness(right, labels)).max() < 1e-3  # always right: sure
    wrong = 1.0 - right
    assert discriminant.sharpness(wrong, labels) < 0.01  # always wrong: not sure at all
    even = torch.tensor([[0.3, 0.3]], dtype=torch.float64)
    assert discriminant.errors(even, torch.tensor([0]), 1.0).tolist() == [0.5]


def test_leave_one_out_logits_have_the_gradient_of_finite_differences():
    x, labels = clouds(3, 3, 4, seed=8)
    point, named = torch.from_numpy(x).requires_grad_(), torch.from_numpy(labels)
    assert torch.autograd.gradcheck(lambda value: discriminant.leave_one_out(value, named), (point,))


def test_a_class_that_loses_its_only_image_is_named_for_nobody():
    x, labels = clouds(4, 3, 6, seed=7)
    x, labels = x[:9], labels[:9]  # one image of the last class
    logits = discriminant.leave_one_out(torch.from_numpy(x), torch.from_numpy(labels)).numpy()
    assert np.isfinite(logits).all()
    assert logits[8].argmax() != 2
