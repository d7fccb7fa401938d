"""FedAvg by Flower's own strategy over the drill's sites; `flower_bundle/pyproject.toml` names both apps."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genepool_protocol.machine.launching import be_quiet

be_quiet()

import numpy as np  # noqa: E402 - the switches come first
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402

from genepool_lab.drill import kept  # noqa: E402
from genepool_lab.drill.cast import ROUNDS, SITES  # noqa: E402
from genepool_protocol.machine.variables import SIMULATION_ROOT  # noqa: E402

ORDER = "order.json"
_POLL = 1.0  # seconds

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """One round at one site."""
    from genepool_lab.drill import round as rounds

    site, folder = int(context.node_config["site"]), Path(str(context.node_config["root"]))
    sent: Any = message.content
    body = {name: array.numpy() for name, array in sent["arrays"].items()}
    weights, images = rounds.take_part(folder, site, int(sent["config"]["server-round"]), body)
    metrics = MetricRecord({"num-examples": images, "site": site})
    return Message(RecordDict({"arrays": _record(weights), "metrics": metrics}), reply_to=message)


@server.main()
def serve(grid: Grid, _context: Context) -> None:
    """All rounds, when every site is there; what each came to is written as it is aggregated."""
    root = Path(os.environ[SIMULATION_ROOT.name])
    order = json.loads((root / ORDER).read_text())
    while len(list(grid.get_node_ids())) < SITES:
        time.sleep(_POLL)
    aggregated: list[int] = []

    def count(records: Iterable[RecordDict], _weighting: str) -> MetricRecord:
        metrics: list[Any] = [record["metrics"] for record in records]
        aggregated[:] = [int(metric["site"]) for metric in metrics]
        return MetricRecord({"sites": len(metrics)})

    def save(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        if number:
            # the strategy comes here, too, when nobody answered, with the net of the round before
            kept.keep(root, number, aggregated, {name: array.numpy() for name, array in arrays.items()})
            aggregated.clear()
        return None

    strategy = FedAvg(fraction_evaluate=0.0, train_metrics_aggr_fn=count, **order["strategy"])
    start = _record(kept.start(root))
    (root / "began").touch()
    strategy.start(grid, start, num_rounds=ROUNDS, evaluate_fn=save, **order["start"])


def _record(net: Mapping[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in net.items()})
