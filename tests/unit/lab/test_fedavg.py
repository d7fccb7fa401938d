"""One site's round of FedAvg: what comes in, what goes back, what stays."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from genepool_client.pictures.images import image_set
from genepool_client.training.recipe import TrainRecipe
from genepool_lab.benchmark import fedavg_app, method
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.trainings import put_images
from tests.support.images import blob


@pytest.fixture
def order(tmp_path, monkeypatch):
    lab, rng = Lab("nano-32", tmp_path / "store"), np.random.default_rng(0)
    labels = np.arange(24) % 3
    images = image_set(np.stack([blob(rng, int(label), 32) for label in labels]), labels, ["a", "b", "c"])
    site = {"data": put_images(lab.store, images), "recipe": asdict(TrainRecipe(steps=2, batch=8, warmup=1))}
    (tmp_path / "sites").mkdir()
    text = json.dumps({"blueprint": "nano-32", "store": str(lab.root), "rounds": 1, "sites": [site]})
    (tmp_path / "sites" / fedavg_app.ORDER).write_text(text)
    monkeypatch.setenv(fedavg_app.ROOT, str(tmp_path / "sites"))
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    return lab


def ask(body):
    message = Message(RecordDict({"arrays": ArrayRecord(torch_state_dict=body)}), 7, "train")
    context = Context(run_id=1, node_id=7, node_config={"partition-id": 0}, state=RecordDict(), run_config={})
    return fedavg_app.client(message, context)


def test_a_round_answers_the_trained_body_and_how_many_images_it_weighs_and_keeps_the_head(order, tmp_path):
    body = method.reference_weights(order)
    answer = ask(body)
    assert not answer.has_error()
    trained = answer.content["arrays"].to_torch_state_dict()
    assert trained.keys() == body.keys()
    assert any(not torch.equal(trained[name], body[name]) for name in body)
    assert dict(answer.content["metrics"]) == {"num-examples": 24}
    head = np.load(tmp_path / "sites" / "site-000" / "head.npz")
    assert head["head.weight"].shape == (3, order.blueprint.width(order.blueprint.heads))
    assert np.abs(head["head.weight"]).max() > 0


def test_the_next_round_goes_on_from_the_site_s_own_head(order, tmp_path):
    answer = ask(method.reference_weights(order))
    first = dict(np.load(tmp_path / "sites" / "site-000" / "head.npz"))
    ask(answer.content["arrays"].to_torch_state_dict())
    second = dict(np.load(tmp_path / "sites" / "site-000" / "head.npz"))
    moved = np.abs(second["head.weight"] - first["head.weight"]).max()
    assert 0 < moved < 2 * np.abs(first["head.weight"]).max()
