"""The consumer's commands as people type them: what they print, what they leave, how they fail."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch

from genepool_client.transport import known_pools, user_folders
from genepool_protocol.learngene import descendant
from tests.integration.consumer.conftest import TINY
from tests.support.images import write_classes


@pytest.fixture
def anchors(server):
    return server.folder / "pool.json"


@pytest.fixture
def to_pool(anchors):
    return ("--pool", anchors, "--blueprint", TINY)


@pytest.fixture(autouse=True)
def nobody_remembered(own_home):
    yield
    shutil.rmtree(own_home / "config", ignore_errors=True)


@pytest.fixture
def made(run, to_pool, pictures, tmp_path):
    code, out, _ = run(
        "descend", *to_pool, "--support", pictures, "--size", "2,2", "--out", tmp_path / "mine", "--json"
    )
    assert code == 0
    return json.loads(out)


def test_select_shows_candidates_reason_and_credits(run, to_pool, pictures):
    code, out, _ = run("select", *to_pool, "--support", pictures)
    assert code == 0
    assert out.count("Apache-2.0") >= 2
    assert "chosen: " in out
    assert "credits: " in out


def test_select_answers_json_in_both_modes(run, to_pool, pictures):
    values = []
    for mode in ("--private", "--remote"):
        code, out, _ = run("select", *to_pool, "--support", pictures, mode, "--json")
        assert code == 0
        values.append(json.loads(out))
    assert values[0]["weights"] == values[1]["weights"]
    assert [value["mode"] for value in values] == ["private", "remote"]
    assert {"site", "license", "key_distance", "knn", "lda", "logme", "place", "weight"} <= set(
        values[0]["candidates"][0]
    )


def test_descend_says_what_it_made_and_that_it_was_verified(run, to_pool, loose_pictures, tmp_path):
    code, out, _ = run(
        "descend", *to_pool, "--support", loose_pictures, "--max-params", "9k", "--out", tmp_path / "mine"
    )
    assert code == 0
    for part in ("folder: ", "parameters", "weight: 0.", "credits: ", "verified: "):
        assert part in out


def test_a_descendant_made_once_is_verified_without_naming_the_pool(run, made):
    assert made["classes"] == ["a", "b", "c"]
    code, out, _ = run("verify", made["folder"])
    assert code == 0
    assert out.startswith("verified: ")


def test_verify_takes_the_pinned_anchors_from_a_file(run, made, anchors, nobody_remembered):
    shutil.rmtree(user_folders.home())
    assert run("verify", made["folder"])[0] == 4
    code, out, _ = run("verify", made["folder"], "--pool", anchors, "--json")
    assert code == 0
    assert json.loads(out)["verified"] is True


def test_one_flipped_byte_is_refused(run, made):
    path = f"{made['folder']}/{descendant.MODEL_FILE}"
    with open(path, "r+b") as file:  # noqa: PTH123 - a byte in place
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 1]))
    code, out, err = run("verify", made["folder"], "--json")
    assert code == 4
    assert json.loads(out)["error"] == "FOLDER_TAMPERED"
    assert "model.safetensors" in err


def test_other_keys_for_a_remembered_address_are_not_overwritten(run, made, server, empty_server, to_pool, tmp_path):
    path = known_pools.path_of(server.address)
    other = empty_server.anchors.model_copy(update={"address": server.address})
    path.write_text(other.model_dump_json(by_alias=True))
    code, out, _ = run("descend", *to_pool, "--size", "1,1", "--out", tmp_path / "second")
    assert code == 0
    assert "--pool FILE" in out
    assert json.loads(path.read_text())["root"] == other.root


def test_rebuilding_gives_the_same_bytes(run, server, to_pool, loose_pictures, tmp_path):
    run("descend", *to_pool, "--support", loose_pictures, "--size", "3,2", "--out", tmp_path / "mine")
    code, out, err = run("verify", tmp_path / "mine", "--rebuild", "--learngenes", server.folder / "blobs")
    assert code == 0, err
    assert "very same bytes" in out


def test_rebuilding_without_the_learngenes_is_refused(run, to_pool, loose_pictures, tmp_path):
    run("descend", *to_pool, "--support", loose_pictures, "--size", "3,2", "--out", tmp_path / "mine")
    (tmp_path / "none").mkdir()
    code, out, _ = run("verify", tmp_path / "mine", "--rebuild", "--learngenes", tmp_path / "none", "--json")
    assert (code, json.loads(out)["error"]) == (3, "FILE_MISSING")
    code, out, _ = run("verify", tmp_path / "mine", "--rebuild", "--json")
    assert (code, json.loads(out)["error"]) == (2, "OPTION_INVALID")


def test_selecting_again_gives_the_same_weights(run, made, pictures):
    code, out, err = run("verify", made["folder"], "--reselect", pictures)
    assert code == 0, err
    assert "the same weights" in out


def test_selecting_again_under_another_filter_is_told(run, to_pool, loose_pictures, tmp_path):
    _, out, _ = run("select", *to_pool, "--support", loose_pictures, "--json")
    nearest = json.loads(out)["candidates"][0]["license"]
    other = {"CC-BY-4.0": "Apache-2.0", "Apache-2.0": "CC-BY-4.0"}[nearest]
    arguments = ("--support", loose_pictures, "--size", "1,1", "--license", other, "--out", tmp_path / "mine")
    assert run("descend", *to_pool, *arguments)[0] == 0
    code, out, _ = run("verify", tmp_path / "mine", "--reselect", loose_pictures, "--json")
    assert (code, json.loads(out)["error"]) == (4, "SELECTION_DIFFERS")
    assert run("verify", tmp_path / "mine", "--reselect", loose_pictures, "--license", other)[0] == 0


def test_finetuning_measures_before_and_after_and_writes_a_timm_folder(run, made, tmp_path):
    data = write_classes(tmp_path / "data", {"a": 12, "b": 12, "c": 12}, np.random.default_rng(5))
    arguments = ("--data", data, "--epochs", "3", "--device", "cpu", "--out", tmp_path / "tuned", "--json")
    code, out, err = run("finetune", made["folder"], *arguments)
    assert code == 0, err
    value = json.loads(out)
    assert value["held_out"] == 6
    assert value["before"] >= 0.9, "three classes that a line can part"
    assert value["after"] > 1 / 3
    model = timm.create_model(f"local-dir:{tmp_path / 'tuned'}", pretrained=True).eval()
    assert model.num_classes == 3
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 16, 16)).abs().max() > 0
    assert not list(tmp_path.glob(".*.part"))


def test_finetuning_on_other_classes_fits_a_head_of_its_own(run, made, tmp_path):
    data = write_classes(tmp_path / "data", {"x": 6, "y": 6}, np.random.default_rng(5))
    code, out, _ = run("finetune", made["folder"], "--data", data, "--epochs", "1", "--device", "cpu")
    assert code == 0
    assert "held-out" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("select", "--pool", "127.0.0.1:1", "--support", "x"), "PATH_MISSING"),
        (("select", "--pool", "no/such/pool.json", "--support", "x"), "PATH_MISSING"),
        (("select", "--pool", "somewhere", "--support", "x"), "OPTION_INVALID"),
        (("verify", "no/such/folder"), "PATH_MISSING"),
        (("finetune", "no/such/folder", "--data", "no/such/data"), "PATH_MISSING"),
    ],
)
def test_bad_input_ends_with_its_reason(run, arguments, expected):
    code, out, err = run(*arguments, "--json")
    assert (code, json.loads(out)["error"]) == (2, expected)
    assert err.startswith(f"error ({expected})")


def test_a_support_folder_that_is_not_there_is_named(run, to_pool, tmp_path):
    code, out, _ = run("descend", *to_pool, "--support", tmp_path / "x", "--out", tmp_path / "mine", "--json")
    assert (code, json.loads(out)["error"]) == (2, "PATH_MISSING")
    assert not (tmp_path / "mine").exists()


def test_a_pool_that_is_away_is_unreachable(run, anchors, tmp_path, pictures):
    value = json.loads(anchors.read_text()) | {"address": "127.0.0.1:9"}
    (tmp_path / "away.json").write_text(json.dumps(value))
    code, out, _ = run("select", "--pool", tmp_path / "away.json", "--support", pictures, "--json")
    assert (code, json.loads(out)["error"]) == (5, "POOL_UNREACHABLE")


def test_doctor_reaches_the_pool(run, anchors):
    code, out, _ = run("doctor", "consumer", "--pool", anchors, "--json")
    found = {finding["check"]: finding for finding in json.loads(out)["findings"]}
    assert found[f"pool {anchors}"]["ok"]
    assert "tiny-16" in found[f"pool {anchors}"]["found"]
    assert "CA is valid" in found["clock"]["found"]
    assert code == 0, out


def test_doctor_says_what_is_wrong_with_a_pool(run, server, empty_server, tmp_path):
    value = json.loads((empty_server.folder / "pool.json").read_text()) | {"address": server.address}
    (tmp_path / "wrong.json").write_text(json.dumps(value))
    code, out, _ = run("doctor", "consumer", "--pool", tmp_path / "wrong.json")
    assert code == 1
    assert "POOL_UNTRUSTED" in out
