"""TALS as a whole: what is chosen, what is refused, and that the answer depends on nothing but the input."""

import numpy as np
import pytest

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.selection import combination, guard, net, scoring, tals, views
from genepool_protocol.selection.combination import FAR
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.scorer import Scorer
from genepool_protocol.selection.support import check_support
from genepool_protocol.wire.errors import InvalidInput, Refused
from tests.support.genes import random_gene, seed_gene, tiny_blueprint

BLUEPRINT = tiny_blueprint()


def embedding(value):
    return Embedding(np.full(4, value, np.float32))


WORST = Score(0.0, 0.0, 0.0, (2.0,) * 32)


def member(name, value):
    return Member(name, embedding(value))


def score(error, *, quality=0.5, images=32, wobble=0.0):
    """A score whose leave-one-out errors lie around `error`."""
    errors = tuple(error + wobble * (-1) ** i for i in range(images))
    return Score(quality, quality, quality, errors)


class Scripted:
    """An evaluator that answers from a table; the slopes of learngenes that it knows none for are zero."""

    def __init__(self, table, asked=None, slopes=None):
        self.table, self.asked, self.slope = table, asked, slopes or {}

    def scores(self, mixtures):
        for mixture in mixtures:
            if self.asked is not None:
                self.asked.append(mixture)
            yield self.table.get(mixture, WORST)

    def slopes(self, mixture, ids):
        return [self.slope.get(name, 0.0) for name in ids]


def trusted(name):
    """What the domain embeddings say where that member's is near."""
    return combination.single(name)


def singles(**scores):
    return {combination.single(name): value for name, value in scores.items()}


LABELS = np.repeat([0, 1], 16)
FEW = np.repeat([0, 1], 5)
ONE_EACH = np.arange(2)


def test_an_empty_pool_is_refused():
    with pytest.raises(Refused) as refusal:
        tals.select(embedding(0), [], Scripted({}), labels=LABELS)
    assert refusal.value.reason == "POOL_EMPTY"


@pytest.mark.parametrize(("labels", "why", "looked"), [(None, "without labels", 0), (ONE_EACH, "at 1-shot", 2)])
def test_where_nothing_can_be_left_out_the_embeddings_answer(labels, why, looked):
    asked = []
    found = tals.select(embedding(0), [member("b", 0.9), member("a", 0.2)], Scripted({}, asked), labels=labels)
    assert (found.choice, found.weights) == ("single", trusted("a"))
    assert len(asked) == looked
    assert [c.score for c in found.candidates] == [None, None]
    assert why in found.reason


@pytest.mark.parametrize(("error", "weights"), [(0.2 + guard.BROKEN, trusted("a")), (0.3 + guard.BROKEN, ())])
def test_attack_76_at_one_image_a_class_what_is_broken_on_views_gives_way_to_the_seed(error, weights):
    table = {(): score(0.2, images=18), trusted("a"): score(error, images=18)}
    found = tals.select(embedding(0), [member("a", 0.2)], Scripted(table), labels=ONE_EACH)
    assert found.weights == weights
    assert ("on views" in found.reason) == (not weights)


@pytest.mark.parametrize("side", [16, 33])
def test_views_are_those_of_the_specification(side):
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    shown, labels = views.spread(images, ONE_EACH)
    assert (shown.shape, shown.dtype) == ((18, side, side, 3), np.uint8)
    assert labels.tolist() == [0, 1] * 9
    wave = (0, 5, 7, 5, 0, -5, -7, -5)

    def source(view, y, x):
        """Section 10, D, pixel by pixel."""
        a, b, c, d = views.WARPS[view]
        u, v = 2 * x - side + 1, 2 * y - side + 1
        p = (a * u + b * v) // 1024 + side * wave[(8 * y // side + view) % 8] // 77
        q = (c * u + d * v) // 1024 + side * wave[(8 * x // side + 3 * view) % 8] // 77
        return tuple(min(max((at + side) // 2, 0), side - 1) for at in (q, p))

    assert np.array_equal(shown[:2], images)
    for view in range(1, 9):
        for number in range(2):
            expected = [[images[number][source(view, y, x)] for x in range(side)] for y in range(side)]
            assert np.array_equal(shown[2 * view + number], np.array(expected))


def test_a_single_image_a_class_is_scored_on_its_views(pool):
    seed, deltas = pool
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    scorer = Scorer(BLUEPRINT, seed, images, ONE_EACH)
    assert len(scorer.score([]).errors) == 18
    assert scorer.score([(700, net.as_tensors(deltas["a"]))]) != scorer.score([])


@pytest.mark.parametrize("labels", [None, ONE_EACH])
def test_a_task_that_is_like_no_site_gets_the_seed_when_nothing_can_be_scored(labels):
    found = tals.select(embedding(0), [member("a", FAR + 1)], Scripted({}), labels=labels)
    assert (found.choice, found.weights) == ("seed", ())
    assert "far" in found.reason


def test_keys_that_are_about_as_near_are_mixed_by_nearness():
    members = [member("a", 0.2), member("b", 0.26), member("c", 0.9)]
    found = tals.select(embedding(0), members, Scripted({}), labels=None)
    assert found.choice == "combination"
    weights = dict(found.weights)
    assert weights["a"] == pytest.approx(2 * weights["b"], abs=2)
    assert 698 <= sum(weights.values()) <= 700


@pytest.mark.parametrize(("distance", "milli"), [(0.55, 560), (0.65, 280), (0.74, 28)])
def test_the_farther_the_nearest_embedding_the_less_of_its_learngene_is_taken(distance, milli):
    found = tals.select(embedding(0), [member("a", distance)], Scripted({}), labels=None)
    assert found.weights == (("a", milli),)
    assert f"a weight of {milli / 1000:.2f}" in found.reason


@pytest.mark.parametrize(
    ("seed_error", "wobble", "choice"), [(1.0, 0.5, "single"), (0.8, 1.0, "single"), (0.8, 0.5, "seed")]
)
def test_a_near_learngene_is_kept_unless_the_seed_is_better_by_a_standard_error(seed_error, wobble, choice):
    """Of 32 images, a wobble of 0.5 is a standard error of 0.09, one of 1.0 of 0.18."""
    table = {(): score(seed_error, wobble=wobble), trusted("a"): score(0.9)}
    assert tals.select(embedding(0), [member("a", 0.2)], Scripted(table), labels=LABELS).choice == choice


def test_a_far_learngene_must_be_clearly_better_than_the_seed():
    for error, wobble, choice in ((0.9, 0.8, "seed"), (0.2, 0.01, "single")):
        table = {(): score(1.0)} | singles(a=score(error, wobble=wobble))
        found = tals.select(embedding(0), [member("a", FAR + 1)], Scripted(table), labels=LABELS)
        assert found.choice == choice


def test_another_single_learngene_takes_over_only_when_it_is_clearly_better():
    members = [member("a", 0.3), member("b", 0.6)]
    for error, wobble, weights in ((0.85, 0.2, trusted("a")), (0.3, 0.01, combination.single("b"))):
        table = {(): score(1.0), trusted("a"): score(0.9)} | singles(b=score(error, wobble=wobble))
        assert tals.select(embedding(0), members, Scripted(table), labels=LABELS).weights == weights


def test_the_walk_can_find_a_mixture_that_no_key_named():
    members = [member("a", 0.3), member("b", 0.6)]
    half = combination.mixture({"a": 350, "b": 500})
    table = {(): score(1.0), trusted("a"): score(0.9), half: score(0.2)} | singles(b=score(0.95))
    found = tals.select(embedding(0), members, Scripted(table, slopes={"b": -1.0}), labels=LABELS)
    assert (found.choice, found.weights) == ("combination", half)


def test_with_few_images_only_the_seed_may_overrule_the_keys():
    members = [member("a", 0.3), member("b", 0.6)]
    table = {(): score(1.0, images=10), trusted("a"): score(0.9, images=10)} | singles(b=score(0.3, images=10))
    found = tals.select(embedding(0), members, Scripted(table, slopes={"b": -1.0}), labels=FEW)
    assert found.weights == trusted("a")
    table[()] = score(0.1, images=10)
    assert tals.select(embedding(0), members, Scripted(table), labels=FEW).weights == ()


def test_only_the_nearest_are_scored_and_all_that_were_kept_are_shown():
    names = [chr(ord("a") + i) for i in range(12)]
    members = [member(name, 0.1 + 0.3 * place) for place, name in enumerate(names)]
    table = {(): score(1.0)} | singles(**{name: score(0.9) for name in names})
    found = tals.select(embedding(0), members, Scripted(table), labels=LABELS)
    assert [c.contribution_id for c in found.candidates] == names
    assert [c.place for c in found.candidates] == list(range(1, 13))
    assert [c.score is not None for c in found.candidates] == [True] * 8 + [False] * 4


def test_the_order_of_the_members_does_not_matter_and_ties_go_by_id():
    members = [member(name, 0.4) for name in "cab"]
    table = {(): score(1.0)} | singles(a=score(0.5), b=score(0.5), c=score(0.5))
    answers = [tals.select(embedding(0), order, Scripted(table), labels=LABELS) for order in (members, members[::-1])]
    assert answers[0] == answers[1]
    assert [c.contribution_id for c in answers[0].candidates] == ["a", "b", "c"]
    assert answers[0].snapshot == tals.snapshot("bca")


def test_progress_is_told_stage_by_stage():
    told = []
    table = {(): score(1.0), trusted("a"): score(0.5)}
    tals.select(
        embedding(0), [member("a", 0.1)], Scripted(table), labels=LABELS, progress=lambda *update: told.append(update)
    )
    assert told == [(1, 1, "retrieve"), (1, 2, "score"), (2, 2, "score"), (0, 1, "search"), (1, 1, "guard")]


def test_the_guard_measures_gains_on_the_same_images():
    mean, error = guard.gain(Score(0, 0, 0, (0.1, 0.3)), Score(0, 0, 0, (0.4, 0.8)))
    assert mean == pytest.approx(0.4)
    assert error == pytest.approx(0.1)


def test_mixtures_have_one_canonical_form():
    assert combination.mixture({"b": 1, "a": 0}) == (("b", 1),)
    assert combination.mixture({"b": 1, "a": 2}) == (("a", 2), ("b", 1))


PIXELS = np.zeros((4, 16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 0, 0, 0], "ONE_CLASS_ONLY"),
        ([0, 2, 0, 2], "ONE_CLASS_ONLY"),
        ([0, 1], "SUPPORT_MALFORMED"),
        ([-1, 0, 1, 0], "SUPPORT_MALFORMED"),
        ([0, 1, 2, 10**6], "SUPPORT_MALFORMED"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels, reason):
    with pytest.raises(InvalidInput) as refusal:
        check_support(BLUEPRINT, PIXELS, labels)
    assert refusal.value.reason == reason


def test_a_single_labelled_image_is_too_few_and_too_many_are_refused():
    with pytest.raises(InvalidInput) as few:
        check_support(BLUEPRINT, PIXELS[:1], [0])
    with pytest.raises(InvalidInput) as many:
        check_support(BLUEPRINT, np.zeros((1025, 16, 16, 3), np.uint8), [])
    assert (few.value.reason, many.value.reason) == ("SUPPORT_TOO_SMALL", "SUPPORT_TOO_LARGE")


def test_two_classes_of_one_image_are_a_support_set_and_no_labels_are_one_too():
    assert check_support(BLUEPRINT, PIXELS[:2], [1, 0]).tolist() == [1, 0]
    assert check_support(BLUEPRINT, PIXELS, []) is None


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    seed = net.as_tensors(seed_gene(BLUEPRINT, rng))
    deltas = {name: random_gene(BLUEPRINT, BLUEPRINT.components, rng, np.float16) for name in "ab"}
    return seed, deltas


def test_thin_slices_score_as_whole_learngenes_do(pool):
    seed, deltas = pool
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8), np.repeat([0, 1], 4)
    scorer = Scorer(BLUEPRINT, seed, images, labels)
    whole = scorer.score([(400, net.as_tensors(deltas["a"])), (600, net.as_tensors(deltas["b"]))])
    thin = scorer.score([(w, net.as_tensors(tals.thin(BLUEPRINT, deltas[n]))) for n, w in (("a", 400), ("b", 600))])
    assert thin == whole
    assert scorer.score([]) != whole


def test_a_mixture_scores_as_the_descendant_of_the_combined_gene(pool):
    seed, deltas = pool
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8), np.repeat([0, 1], 4)
    delta = net.as_tensors(deltas["a"])
    gene = {name: tensor + delta[name] if name in delta else tensor for name, tensor in seed.items()}
    size = BLUEPRINT.score.size()
    weights = expansion.expand(expansion.plan(BLUEPRINT, size, BLUEPRINT.seed.components), gene)
    wanted = scoring.score(net.embed(BLUEPRINT, size, weights, images).numpy(), labels)
    found = Scorer(BLUEPRINT, seed, images, labels).score([(1000, delta)])
    assert np.allclose(found.errors, wanted.errors, atol=1e-4)
    assert found.logme == pytest.approx(wanted.logme, abs=1e-3)
