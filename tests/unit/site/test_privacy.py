"""Keys leave through one mechanism: drawn once for the same images, counted for ever, and worth what is claimed."""

import itertools
import json
import math

import numpy as np
import pytest

from genepool_client.site import privacy as site_privacy
from genepool_protocol.learngene import manifest as documents
from genepool_protocol.learngene import privacy
from genepool_protocol.wire.errors import GenepoolError
from tests.support import sites
from tests.support.genes import tiny_blueprint

BLUEPRINT = tiny_blueprint()
EXACT = np.full(16, 0.25)


def release(path, data="a" * 64, images=200, epsilon="1", blueprint=BLUEPRINT):
    return site_privacy.release(path, blueprint, EXACT, data, images, epsilon, "1e-6")


def claimed(draw, path, **changes):
    claim = documents.Privacy(key=site_privacy.read(path).claim(draw))
    training = documents.Training(images=draw.images, classes=2, ancestry_steps=1, condense_steps=1, software="t")
    return sites.manifest_for(BLUEPRINT, privacy=claim, training=training, **changes)


def test_the_same_images_get_the_same_draw_whatever_is_asked_later(tmp_path):
    path = tmp_path / "keys.json"
    first = release(path)
    kept = path.read_bytes()
    assert release(path, epsilon="8") == first
    assert path.read_bytes() == kept
    assert np.array_equal(site_privacy.read(path).draws[0].key().mean, first.key().mean)
    assert path.stat().st_mode & 0o077 == 0


def test_a_draw_is_durable_before_it_is_known(tmp_path, monkeypatch):
    path = tmp_path / "keys.json"
    monkeypatch.setattr(site_privacy, "write_json", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        release(path)
    monkeypatch.undo()
    assert not path.exists()


def test_other_images_cost_a_budget_of_their_own(tmp_path):
    path = tmp_path / "keys.json"
    first = release(path)
    alone = site_privacy.read(path).claim(first)
    assert alone.cumulative_epsilon == alone.epsilon == "1"
    second = release(path, data="b" * 64)
    assert not np.array_equal(first.key().mean, second.key().mean)
    both = site_privacy.read(path).claim(second)
    expected = privacy.epsilon_of(privacy.ratio_of(1, 1e-6) * math.sqrt(2), 1e-6)
    assert float(both.cumulative_epsilon) == pytest.approx(expected, abs=1e-3)
    spent = site_privacy.read(path).claim(second, spent="3")
    assert float(spent.cumulative_epsilon) > 3


@pytest.mark.parametrize("epsilon", ["0.1", "1", "3", "20"])
@pytest.mark.parametrize("images", [20, 50, 700, 10**6])
def test_what_a_site_claims_adds_up_for_the_pool(tmp_path, epsilon, images):
    draw = release(tmp_path / "keys.json", images=images, epsilon=epsilon)
    documents.check_privacy(claimed(draw, tmp_path / "keys.json"), BLUEPRINT)


def test_noise_has_the_claimed_deviation_and_comes_from_the_operating_system(tmp_path):
    draw = release(tmp_path / "keys.json", images=50)
    sigma = float(draw.sigma)
    draws = [site_privacy.noised(np.zeros(500), sigma).mean for _ in range(4)]
    noise = np.concatenate(draws)
    assert float(noise.std()) == pytest.approx(sigma, rel=0.1)
    assert abs(float(noise.mean())) < 5 * sigma / math.sqrt(noise.size)
    # single numbers meet by chance, in float32 in one run of thirty; places of two draws hardly ever
    assert all(np.count_nonzero(one == other) < 3 for one, other in itertools.combinations(draws, 2))


@pytest.mark.parametrize(("epsilon", "delta"), [("0", "1e-6"), ("-1", "1e-6"), ("1", "0"), ("1", "1")])
def test_a_budget_that_is_none_is_refused(tmp_path, epsilon, delta):
    with pytest.raises(GenepoolError) as caught:
        site_privacy.release(tmp_path / "keys.json", BLUEPRINT, EXACT, "a", 10, epsilon, delta)
    assert caught.value.reason == "OPTION_INVALID"
    assert not (tmp_path / "keys.json").exists()


def test_a_damaged_list_of_draws_is_not_taken_for_an_empty_one(tmp_path):
    path = tmp_path / "keys.json"
    release(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"draws": [{}]}))
    with pytest.raises(GenepoolError) as caught:
        release(path)
    assert caught.value.reason == "FILE_MALFORMED"


@pytest.mark.parametrize(
    ("images", "epsilon", "delta", "reason"),
    [
        (19, "1", "1e-6", "IMAGES_TOO_FEW"),
        (20, "1e-9", "1e-6", "OPTION_INVALID"),
        (20, "1", "1e-13", "OPTION_INVALID"),
        (20, "0.05", "1e-12", ""),
    ],
)
def test_attack_74_a_site_is_told_before_it_trains_what_no_pool_takes(images, epsilon, delta, reason):
    if not reason:
        site_privacy.check_budget(images, epsilon, delta)
        return
    with pytest.raises(GenepoolError) as caught:
        site_privacy.check_budget(images, epsilon, delta)
    assert caught.value.reason == reason
