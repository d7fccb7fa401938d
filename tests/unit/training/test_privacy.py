"""Keys leave through one mechanism: drawn once for the same images, counted for ever, and worth what is claimed."""

import io
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

from genepool_client.pictures.images import ImageSet, image_set
from genepool_client.training import likeness
from genepool_client.training import privacy as site_privacy
from genepool_protocol.learngene import manifest as documents
from genepool_protocol.learngene import privacy
from genepool_protocol.pictures import open_picture
from genepool_protocol.wire.errors import GenepoolError
from tests.support import sites
from tests.support.genes import tiny_blueprint

BLUEPRINT = tiny_blueprint()
EXACT = np.full(16, 0.25)


def pictures(count=200, rng=0, size=16) -> ImageSet:
    """Different images in two classes: coarse shapes, as photos have, and some noise."""
    generator = np.random.default_rng(rng)
    coarse = generator.integers(30, 220, (count, 4, 4, 3)).repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    noise = generator.integers(0, 20, (count, size, size, 3))
    return image_set((coarse + noise).astype(np.uint8), np.arange(count) % 2, ["a", "b"])


def few(count: int) -> ImageSet:
    """A set of that many images, without the time that so many take."""
    one = pictures(1)
    return ImageSet(one.pixels, np.zeros(count, dtype=np.int64), one.classes, f"{count:064x}")


def release(path, images=None, epsilon="1", blueprint=BLUEPRINT):
    return site_privacy.release(path, blueprint, EXACT, images or pictures(), epsilon, "1e-6")


def written_by_v1(path, draw, images) -> None:
    """keys.json as the version before left it."""
    old = {name: item for name, item in draw.model_dump().items() if name not in {"ordered", "prints"}}
    path.write_text(json.dumps({"schema": "genepool.keys/v1", "draws": [old | {"data": images.digest}]}))


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
    assert np.array_equal(site_privacy.read(path).draws[0].embedding().mean, first.embedding().mean)
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
    second = release(path, pictures(rng=1))
    assert not np.array_equal(first.embedding().mean, second.embedding().mean)
    both = site_privacy.read(path).claim(second)
    expected = privacy.epsilon_of(privacy.ratio_of(1, 1e-6) * math.sqrt(2), 1e-6)
    assert float(both.cumulative_epsilon) == pytest.approx(expected, abs=1e-3)
    spent = site_privacy.read(path).claim(second, spent="3")
    assert float(spent.cumulative_epsilon) > 3


@pytest.mark.parametrize("epsilon", ["0.1", "1", "3", "20"])
@pytest.mark.parametrize("images", [20, 50, 700, 10**6])
def test_what_a_site_claims_adds_up_for_the_pool(tmp_path, epsilon, images):
    draw = release(tmp_path / "keys.json", few(images), epsilon=epsilon)
    documents.check_privacy(claimed(draw, tmp_path / "keys.json"), BLUEPRINT)


def test_noise_has_the_claimed_deviation_and_comes_from_the_operating_system(tmp_path):
    draw = release(tmp_path / "keys.json", pictures(50))
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
        site_privacy.release(tmp_path / "keys.json", BLUEPRINT, EXACT, pictures(10), epsilon, delta)
    assert caught.value.reason == "OPTION_INVALID"
    assert not (tmp_path / "keys.json").exists()


def test_a_damaged_list_of_draws_is_not_taken_for_an_empty_one(tmp_path):
    path = tmp_path / "keys.json"
    release(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"draws": [{}]}))
    with pytest.raises(GenepoolError) as caught:
        release(path)
    assert caught.value.reason == "FILE_MALFORMED"


# --- what "the same images" means ---


def renamed(images):
    return image_set(images.pixels, images.labels, ["x", "y"])


def corrected(images):
    labels = images.labels.copy()
    labels[0] = 1 - labels[0]
    return image_set(images.pixels, labels, images.classes)


def shuffled(images):
    order = np.random.default_rng(5).permutation(len(images.labels))
    return image_set(images.pixels[order], images.labels[order], images.classes)


def unlabelled(images):
    return image_set(images.pixels, np.zeros_like(images.labels), ["all"])


@pytest.mark.parametrize("changed", [renamed, corrected, shuffled, unlabelled])
def test_other_names_labels_and_order_are_the_same_images(tmp_path, changed):
    path = tmp_path / "keys.json"
    first = release(path)
    assert changed(pictures()).digest != pictures().digest
    assert release(path, changed(pictures())) == first
    assert len(site_privacy.read(path).draws) == 1


def test_four_names_for_the_same_images_are_no_four_looks_at_the_noise(tmp_path):
    path = tmp_path / "keys.json"
    drawn = [
        release(path, change(pictures())).embedding().mean for change in (renamed, corrected, shuffled, unlabelled)
    ]
    alone = float(np.linalg.norm(drawn[0] - EXACT))
    assert float(np.linalg.norm(np.mean(drawn, axis=0) - EXACT)) == pytest.approx(alone, rel=1e-5)


def one_more(images):
    more = pictures(1, rng=9)
    return image_set(np.concatenate([images.pixels, more.pixels]), np.append(images.labels, 0), images.classes)


def two_fewer(images):
    return image_set(images.pixels[2:], images.labels[2:], images.classes)


def twice(images):
    return image_set(np.concatenate([images.pixels] * 2), np.concatenate([images.labels] * 2), images.classes)


def recompressed(images):
    pixels = []
    for image in images.pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        with open_picture(file) as again:
            pixels.append(np.asarray(again))
    return image_set(np.stack(pixels), images.labels, images.classes)


@pytest.mark.parametrize("changed", [one_more, two_fewer, twice, recompressed])
def test_nearly_equal_images_pay_again_and_it_is_said(tmp_path, changed):
    path = tmp_path / "keys.json"
    first = release(path)
    second = release(path, changed(pictures()))
    assert second.values != first.values
    draws = site_privacy.read(path)
    told = site_privacy.told(draws, second, "0")
    assert told.like > 0.9
    assert "went into an earlier" in " ".join(told.lines())
    assert float(told.cumulative) > 1.4
    assert draws.claim(second).cumulative_epsilon == told.cumulative


def test_other_images_are_not_called_alike(tmp_path):
    path = tmp_path / "keys.json"
    release(path)
    second = release(path, pictures(rng=1))
    told = site_privacy.told(site_privacy.read(path), second, "0")
    assert told.like < 0.1
    assert float(told.cumulative) > 1.4  # it is added all the same


def test_a_list_of_the_version_before_gives_the_same_draw_for_the_same_images(tmp_path):
    path = tmp_path / "keys.json"
    first = release(path)
    written_by_v1(path, first, pictures())
    assert release(path).values == first.values  # found by the old digest, and known by the new one from now on
    assert json.loads(path.read_bytes())["schema"] == "genepool.keys/v2"
    assert release(path, renamed(pictures())).values == first.values
    assert len(site_privacy.read(path).draws) == 1


def test_what_the_version_before_drew_of_images_that_are_gone_stays_counted(tmp_path):
    path = tmp_path / "keys.json"
    written_by_v1(path, release(path), pictures())
    second = release(path, renamed(pictures()))  # nobody can know any more that they are the same
    told = site_privacy.told(site_privacy.read(path), second, "0")
    assert float(told.cumulative) > 1.4
    assert told.unknown == 1
    assert "cannot be compared" in " ".join(told.lines())


def test_a_draw_says_that_another_folder_is_another_budget(tmp_path):
    path = tmp_path / "keys.json"
    draw = release(path)
    assert site_privacy.TWO_FOLDERS in site_privacy.told(site_privacy.read(path), draw, "0").lines()


def test_the_digest_is_of_the_multiset_of_pixels():
    images = pictures(6)
    assert likeness.digest_of(images.pixels) == likeness.digest_of(images.pixels[::-1])
    assert likeness.digest_of(images.pixels) != likeness.digest_of(twice(images).pixels)
    assert likeness.digest_of(images.pixels) != likeness.digest_of(images.pixels.reshape(6, 8, 32, 3))


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
