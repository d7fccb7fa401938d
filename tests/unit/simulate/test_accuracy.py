"""What a start is worth on an episode: the head that ships, and the fine-tuning that ships."""

from dataclasses import replace

import numpy as np
import pytest

from genepool_client.consumer import finetune
from genepool_client.consumer.descendant.head import fit_head
from genepool_client.consumer.descendant.load import empty, put_weights
from genepool_client.consumer.finetune import FinetuneRecipe
from genepool_client.simulate import accuracy
from genepool_client.simulate.episodes import draw_episode, load_episode, save_episode
from genepool_client.simulate.start_weights import scratch
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net
from tests.support.genes import tiny_blueprint

BLUEPRINT, SIZE = tiny_blueprint(), Size(2, 2)


@pytest.fixture(scope="module")
def episode():
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 2
    images = (rng.integers(0, 90, (40, 16, 16, 3)) + 50 * labels[:, None, None, None]).astype(np.uint8)
    return draw_episode("a task", images, labels, 6, 1)


def test_an_episode_parts_support_from_query_images_and_repeats_itself(episode, tmp_path):
    assert (len(episode.support), len(episode.query)) == (12, 28)
    assert np.bincount(episode.support_labels).tolist() == [6, 6]
    pictures = {image.tobytes() for image in episode.support}
    assert not pictures & {image.tobytes() for image in episode.query}
    again = load_episode(save_episode(episode, tmp_path / "episode.npz"), "a task", 1)
    for name in ("support", "support_labels", "query", "query_labels"):
        assert np.array_equal(getattr(again, name), getattr(episode, name)), name


def by_hand(weights, episode, recipe):
    features = net.embed(BLUEPRINT, SIZE, weights, episode.support)
    model = empty(BLUEPRINT, SIZE, 2)
    put_weights(model, weights, fit_head(features.numpy(), episode.support_labels))
    finetune.train(model, BLUEPRINT, episode.support, episode.support_labels, recipe)
    return model, finetune.accuracy(model, BLUEPRINT, episode.query, episode.query_labels)


def test_the_simulations_steps_are_those_of_genepool_finetune(episode, monkeypatch):
    weights, nets, train = scratch(BLUEPRINT, SIZE, 0), [], finetune.train

    def watched(model, *arguments):
        train(model, *arguments)
        nets.append(model)

    monkeypatch.setattr(finetune, "train", watched)
    measured = accuracy.before_and_after(BLUEPRINT, SIZE, weights, episode, 7)
    monkeypatch.undo()
    model, share = by_hand(weights, episode, FinetuneRecipe(steps=7, rng=episode.draw))
    assert measured.after == share
    assert all(tensor.equal(nets[0].state_dict()[name]) for name, tensor in model.state_dict().items())


def test_each_budget_begins_at_the_start_and_leaves_it_as_it_was(episode):
    weights = scratch(BLUEPRINT, SIZE, 0)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    recipe = replace(FinetuneRecipe(), lr=3e-3, batch=5)
    several = accuracy.accuracies(
        BLUEPRINT, SIZE, weights, episode, [replace(recipe, steps=steps) for steps in (1, 12, 3)]
    )
    alone = [
        accuracy.accuracies(BLUEPRINT, SIZE, weights, episode, [replace(recipe, steps=3)])[index] for index in (0, 1)
    ]
    assert [several[0], several[3]] == alone
    assert all(tensor.equal(before[name]) for name, tensor in weights.items())


def test_without_steps_there_is_no_after(episode):
    measured = accuracy.before_and_after(BLUEPRINT, SIZE, scratch(BLUEPRINT, SIZE, 0), episode, 0)
    assert measured.after is None
    assert 0 <= measured.before <= 1
