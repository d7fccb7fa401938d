"""NVFlare's own FedAvg and ScatterAndGather, which tell the drill what each round came to.

Everything else is theirs; this file is shipped with the job.
"""

import os
from pathlib import Path

from nvflare.apis.fl_constant import ReservedKey
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.abstract.model import ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.workflows.fedavg import FedAvg

from genepool_lab.drill import kept


def _folder():
    return Path(os.environ["DRILL_FOLDER"])


def _start():
    (_folder() / "began").touch()
    return kept.start(_folder())


def _keep(number, net):
    kept.keep(_folder(), number, [int(site.rpartition("-")[2]) for site in _taken], net)
    _taken.clear()


_taken = []
"""Sites whose work went into the round that is aggregated."""


class DrillFedAvg(FedAvg):
    """FedAvg as it comes."""

    def load_model(self):
        """The net that everybody starts from."""
        return FLModel(params=_start())

    def _aggregate_one_result(self, result):
        accepted = super()._aggregate_one_result(result)
        if accepted is not False:
            _taken.append(result.meta["client_name"])
        return accepted

    def save_model(self, model):
        """Tell of the round; FedAvg saves after each."""
        _keep(self.current_round + 1, model.params)


class DrillPersistor(ModelPersistor):
    """Loads the net that everybody starts from, and tells of each round."""

    def __init__(self):
        super().__init__()
        self._number = 0

    def load_model(self, fl_ctx):
        """The net that everybody starts from."""
        return make_model_learnable(weights=_start(), meta_props={})

    def save_model(self, model, fl_ctx):
        """Tell of the round; ScatterAndGather saves after each, and once more at its end."""
        if _taken:
            self._number += 1
            _keep(self._number, model[ModelLearnableKey.WEIGHTS])


class DrillAggregator(InTimeAccumulateWeightedAggregator):
    """The usual aggregator, which notes whom it accepts."""

    def accept(self, shareable, fl_ctx):
        """Note who is accepted."""
        accepted = super().accept(shareable, fl_ctx)
        if accepted:
            _taken.append(shareable.get_peer_prop(key=ReservedKey.IDENTITY_NAME, default="?"))
        return accepted
