"""Cells on two learngenes of random numbers and images that a child could tell apart."""

from dataclasses import replace

import numpy as np
import pytest

from genepool_client.consumer import finetune
from genepool_client.pictures.images import image_set
from genepool_client.simulate import accuracy
from genepool_lab.benchmark import starts
from genepool_lab.benchmark.cells import Features, Measure, Pick, PoolMember, Probe, Search, Select, Shown
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.starts import SEED, single
from genepool_lab.benchmark.tasks import EpisodePlaces
from genepool_lab.benchmark.trainings import put_images
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net
from genepool_protocol.selection.embedding import task_embedding
from tests.support.images import blob

ONE, TWO = "1" * 64, "2" * 64
SIZE = Size(2, 1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab("nano-32", tmp_path_factory.mktemp("lab") / "store")
    count = algebra.elements(expansion.gene_layout(made.blueprint, made.blueprint.components))
    rng = np.random.default_rng(0)
    dots = np.stack([blob(rng, place % 2, 32) for place in range(8)])
    for name, pictures in ((ONE, dots), (TWO, rng.integers(0, 255, (8, 32, 32, 3)).astype(np.uint8))):
        exact = task_embedding(made.blueprint, net.as_tensors(made.gene(made.seed)), pictures)
        delta = rng.normal(0, 0.005, count).astype(np.float16)
        made.store.put(name, {"noise": 0.0}, {"delta": delta, "mean": exact.mean})
    return made


@pytest.fixture(scope="module")
def shown(lab):
    rng = np.random.default_rng(1)
    labels = np.arange(24) % 2
    bank = put_images(lab.store, image_set(np.stack([blob(rng, int(c), 32) for c in labels]), labels, ["a", "b"]))
    places = [("dots", i) for i in range(24)]
    episode = EpisodePlaces(
        "t", 0, 3, tuple(places[:6]), tuple(labels[:6].tolist()), tuple(places[6:]), tuple(labels[6:].tolist())
    )
    return Shown(episode, (("dots", bank),))


def run(lab, cell):
    cell.run(lab)
    return lab.store.record(cell.key)


@pytest.mark.parametrize("start", [SEED, single(ONE)])
def test_kept_features_give_the_accuracy_that_a_fresh_measurement_gives(lab, shown, start):
    features = Features(lab.blueprint.sha256, start, SIZE, shown.banks[0][1])
    features.run(lab)
    probe = run(lab, Probe(lab.blueprint.sha256, start, SIZE, (shown,)))
    measure = run(lab, Measure(lab.blueprint.sha256, start, SIZE, shown))
    assert probe["accuracy"] == [measure["accuracy"]["0"]]
    assert measure["accuracy"]["0"] > 0.8


def test_fine_tuning_is_measured_for_every_budget_and_repeats_itself(lab, shown):
    cell = Measure(lab.blueprint.sha256, SEED, SIZE, shown, (1, 2))
    first = run(lab, cell)
    assert list(first["accuracy"]) == ["0", "1", "2"]
    assert run(lab, cell) == first


def test_tals_and_the_other_choosers_answer_with_members_of_the_pool(lab, shown):
    pool = (PoolMember(ONE), PoolMember(TWO))
    answer = run(lab, Select(lab.blueprint.sha256, pool, shown))
    assert answer["choice"] in {"seed", "single", "combination"}
    assert {name for name, _ in answer["weights"]} <= {ONE, TWO}
    assert answer["nearest"] == ONE  # dots, as the pictures are
    for name in (ONE, TWO):
        Features(lab.blueprint.sha256, single(name), SIZE, shown.banks[0][1]).run(lab)
    picked = run(lab, Pick(lab.blueprint.sha256, (ONE, TWO), SIZE, shown))
    assert {picked["logme"], picked["knn"]} <= {ONE, TWO}
    found = run(lab, Search(lab.blueprint.sha256, (TWO, ONE), shown, 6))
    assert [name for name, _ in found["weights"]] == [ONE, TWO]


def test_a_pool_in_another_order_is_the_same_pool(lab, shown):
    pool = (PoolMember(ONE), PoolMember(TWO))
    assert Select(lab.blueprint.sha256, pool, shown).key == Select(lab.blueprint.sha256, pool[::-1], shown).key
    other = (PoolMember(ONE), PoolMember(TWO, "3" * 64))
    assert Select(lab.blueprint.sha256, other, shown).key != Select(lab.blueprint.sha256, pool, shown).key


def test_the_benchmark_trains_as_genepool_finetune_does(lab, shown):
    """What a budget of epochs gives is what the loop that ships gives, on the same images from the same start."""
    episode, weights = shown.images(lab.store), starts.weights_of(lab, SEED, SIZE)
    recipes = [replace(finetune.FinetuneRecipe(), epochs=epochs) for epochs in (1, 2)]
    shares = accuracy.accuracies(lab.blueprint, SIZE, weights, episode, recipes)
    measured = run(lab, Measure(lab.blueprint.sha256, SEED, SIZE, shown, (1, 2)))["accuracy"]
    assert list(measured.values()) == shares
    assert min(shares) > 0.5
