"""FedAvg by Flower's own strategy: every round each site trains the common net on its images; the server averages.

Label spaces differ, so what is averaged is the body; each site keeps its head. `fedavg/pyproject.toml` names both apps.
"""

import json
import os
from pathlib import Path
from typing import Any

from genepool_protocol.machine.launching import be_quiet

be_quiet()

import numpy as np  # noqa: E402 - the switches come first
import torch  # noqa: E402
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402

from genepool_client.training.recipe import TrainRecipe  # noqa: E402
from genepool_lab.benchmark import method  # noqa: E402
from genepool_lab.benchmark.lab import Lab  # noqa: E402
from genepool_lab.benchmark.trainings import image_set_of  # noqa: E402
from genepool_protocol.machine.variables import SIMULATION_ROOT  # noqa: E402

ROOT = SIMULATION_ROOT.name
"""Holds `order.json`, what the server saved last, and a folder a site with its head."""
ORDER = "order.json"
SAVED = "round.npz"

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """One round at one site."""
    torch.set_num_threads(1)
    root = Path(os.environ[ROOT])
    order = json.loads((root / ORDER).read_text())
    place = int(context.node_config["partition-id"])
    site, lab = order["sites"][place], Lab(order["blueprint"], Path(order["store"]))
    images = image_set_of(lab.store, site["data"])
    folder = root / f"site-{place:03d}"
    folder.mkdir(exist_ok=True)
    sent = message.content["arrays"]
    assert isinstance(sent, ArrayRecord)  # noqa: S101 - as the strategy sends it
    body = dict(sent.to_torch_state_dict())
    (folder / "round.pt").unlink(missing_ok=True)
    recipe = TrainRecipe(**site["recipe"])
    body, head = method.train_round(lab, body, _head(lab, folder, len(images.classes)), images, recipe, folder)
    np.savez(folder / "head.npz", allow_pickle=False, **{name: tensor.numpy() for name, tensor in head.items()})
    metrics = MetricRecord({"num-examples": len(images.labels)})
    content = RecordDict({"arrays": ArrayRecord(torch_state_dict=body), "metrics": metrics})
    return Message(content, reply_to=message)


def _head(lab: Lab, folder: Path, classes: int) -> dict[str, torch.Tensor]:
    if (folder / "head.npz").exists():
        with np.load(folder / "head.npz") as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
    width = lab.blueprint.width(lab.blueprint.heads)
    return {"head.weight": torch.zeros(classes, width), "head.bias": torch.zeros(classes)}


@server.main()
def serve(grid: Grid, _context: Context) -> None:
    """All rounds that are left; each is saved when it is averaged, so that an interrupted run goes on."""
    root = Path(os.environ[ROOT])
    order = json.loads((root / ORDER).read_text())
    lab, count = Lab(order["blueprint"], Path(order["store"])), len(order["sites"])
    rounds_before, body = 0, {name: tensor.numpy() for name, tensor in method.reference_weights(lab).items()}
    if (root / SAVED).exists():
        with np.load(root / SAVED) as archive:
            rounds_before, body = (
                int(archive["round"]),
                {name: archive[name] for name in archive.files if name != "round"},
            )

    def save(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        if number:
            _save(root, rounds_before + number, arrays)
        return None

    start = ArrayRecord(torch_state_dict={name: torch.from_numpy(value) for name, value in body.items()})
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=count, min_available_nodes=count)
    if rounds_before < order["rounds"]:
        strategy.start(grid, start, num_rounds=order["rounds"] - rounds_before, evaluate_fn=save)


def _save(root: Path, number: int, arrays: ArrayRecord) -> None:
    values: dict[str, Any] = {name: tensor.numpy() for name, tensor in arrays.to_torch_state_dict().items()}
    with (root / f"{SAVED}.tmp").open("wb") as file:
        np.savez(file, allow_pickle=False, round=number, **values)
    (root / f"{SAVED}.tmp").replace(root / SAVED)
