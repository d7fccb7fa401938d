"""Selection at home and at the pool: the same answer, and refusals that say what to do."""

import json
import shutil

import numpy as np
import pytest
import torch

from genepool_client.consumer.pool import Pool
from genepool_client.transport.user_folders import default_cache
from genepool_protocol.selection import combination
from genepool_protocol.selection.combination import FAR
from genepool_protocol.wire.errors import GenepoolError
from tests.integration.consumer.conftest import TINY, Members, make_pool
from tests.support.images import write_classes
from tests.support.refusals import reason_of
from tests.support.server import serving


def as_value(selection) -> dict:
    value = selection.as_json()
    del value["mode"]
    return value


@pytest.mark.parametrize("kind", ["pictures", "loose_pictures"])
def test_both_modes_answer_the_same_to_the_last_digit(pool, request, kind):
    support = request.getfixturevalue(kind)
    home, away = pool.select(support, mode="private"), pool.select(support, mode="remote")
    assert (home.mode, away.mode) == ("private", "remote")
    assert as_value(home) == as_value(away)
    assert len(home.candidates) == 5


def test_an_unlabelled_set_gets_what_the_keys_say(pool, loose_pictures):
    answer = pool.select(loose_pictures)
    nearest = min(answer.candidates, key=lambda one: one.key_distance)
    keys = [(one.contribution_id, one.key_distance) for one in answer.candidates]
    assert answer.weights == combination.by_nearness(keys)
    assert nearest in answer.credits
    assert nearest.site in str(answer)


@pytest.fixture
def undecided(monkeypatch):
    """No key leads, so the nearest are mixed; the server is in this process and follows."""
    monkeypatch.setattr(combination, "_LEAD", 100.0)


@pytest.mark.usefixtures("undecided")
def test_both_modes_agree_on_a_combination(pool, pictures):
    home, away = pool.select(pictures, mode="private"), pool.select(pictures, mode="remote")
    assert home.choice == "combination"
    assert as_value(home) == as_value(away)
    assert [one.milli for one in home.credits] == [milli for _, milli in home.weights]


def test_one_image_a_class_can_be_selected_for(pool, tmp_path):
    support = write_classes(tmp_path / "few", {"a": 1, "b": 1, "c": 1}, np.random.default_rng(0))
    home, away = pool.select(support, mode="private"), pool.select(support, mode="remote")
    assert home.choice != "seed"
    assert as_value(home) == as_value(away)
    assert "NaN" not in json.dumps(home.as_json())


def test_a_task_that_is_like_no_site_gets_the_seed(pool):
    far = np.full((6, 16, 16, 3), 255, dtype=np.uint8)
    assert pool.select(far).candidates[0].key_distance > FAR
    home, away = pool.select(far, mode="private"), pool.select(far, mode="remote")
    assert home.weights == away.weights == ()
    assert "the seed alone" in str(home)


def test_a_license_filter_leaves_only_such_learngenes(pool, pictures):
    for mode in ("private", "remote"):
        answer = pool.select(pictures, mode=mode, licenses=["Apache-2.0"])
        assert {one.site for one in answer.candidates} == {"south", "south-3"}


@pytest.mark.parametrize("mode", ["private", "remote"])
def test_a_licence_that_nobody_uses_leaves_nothing(pool, pictures, mode):
    with pytest.raises(GenepoolError, match=r"GPL-3\.0-only") as caught:
        pool.select(pictures, mode=mode, licenses=["GPL-3.0-only"])
    assert caught.value.reason == "POOL_EMPTY"


@pytest.mark.parametrize("mode", ["private", "remote"])
def test_an_empty_pool_is_refused(empty_server, pictures, mode):
    with Pool(empty_server.address, empty_server.anchors, blueprint=TINY) as pool:
        assert reason_of(pool.select, pictures, mode=mode) == "POOL_EMPTY"


def test_thin_slices_are_fetched_once_and_mended_when_they_are_damaged(pool, pictures):
    shutil.rmtree(default_cache() / "thin", ignore_errors=True)
    stages = []
    pool.progress = lambda _done, total, stage: stages.append((stage, total))
    first = pool.select(pictures)
    assert ("fetch", 5) in stages
    stages.clear()
    assert pool.select(pictures) == first
    assert not [stage for stage, _ in stages if stage == "fetch"]
    kept = sorted((default_cache() / "thin").rglob("*.safetensors"))
    raw = bytearray(kept[0].read_bytes())
    raw[-1] ^= 1
    kept[0].write_bytes(raw)
    stages.clear()
    assert pool.select(pictures) == first
    assert ("fetch", 1) in stages
    assert len(sorted((default_cache() / "thin").rglob("*.safetensors"))) == 5


def test_a_new_learngene_takes_part_at_once(tmp_path, pictures, task):
    with serving(make_pool(tmp_path / "growing")) as server:
        members = Members(server, task)
        with Pool(server.address, server.anchors, blueprint=TINY) as pool:
            for count in (1, 2):
                members.add(f"later-{count}")
                assert len(pool.select(pictures).candidates) == count


def test_selection_leaves_the_number_of_threads_alone(pool, pictures):
    before = torch.get_num_threads()
    pool.select(pictures)
    assert torch.get_num_threads() == before


def test_pixels_and_labels_do_as_well_as_a_folder(pool, pictures):
    found = pool.support(pictures)
    again = pool.support((found.pixels, [found.classes[label] for label in found.labels]))
    assert again.classes == found.classes
    assert pool.select(again) == pool.select(pictures)


def test_pixels_of_another_size_are_refused(pool):
    assert reason_of(pool.select, np.zeros((4, 8, 8, 3), np.uint8)) == "SUPPORT_MALFORMED"


def test_an_unknown_mode_is_refused(pool, pictures):
    assert reason_of(pool.select, pictures, mode="public") == "OPTION_INVALID"


def test_a_pool_of_several_blueprints_wants_to_hear_which(server, pictures):
    with Pool(server.address, server.anchors) as pool:
        with pytest.raises(GenepoolError) as caught:
            pool.select(pictures)
        assert caught.value.reason == "OPTION_INVALID"
        assert "wide-16" in caught.value.fix


def test_a_blueprint_that_the_pool_does_not_have_is_refused(server, pictures):
    with Pool(server.address, server.anchors, blueprint="huge-16") as pool:
        assert reason_of(pool.select, pictures) == "BLUEPRINT_UNKNOWN"


def test_another_pools_keys_are_refused(server, empty_server, pictures):
    anchors = empty_server.anchors.model_copy(update={"ca_pem": server.anchors.ca_pem})
    with Pool(server.address, anchors, blueprint=TINY) as pool:
        assert reason_of(pool.select, pictures) == "TRUST_INVALID"


def test_another_pools_ca_is_refused(server, empty_server, pictures):
    with Pool(server.address, empty_server.anchors, blueprint=TINY) as pool:
        assert reason_of(pool.select, pictures) == "POOL_UNTRUSTED"
