"""A site's training script under NVFlare: each round is a process of genepool's environment; shipped with the job."""

import os
import subprocess
from pathlib import Path

import numpy as np
import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel


def main():
    """Take part until the job is over."""
    folder = Path(os.environ["DRILL_FOLDER"])
    flare.init()
    site = flare.get_site_name().rpartition("-")[2]
    while flare.is_running():
        model = flare.receive()
        number = int(model.current_round) + 1
        source, target = (folder / f"{what}-{site}-{number}.npz" for what in ("got", "done"))
        np.savez(source, **model.params)
        words = [os.environ["DRILL_PYTHON"], "-m", "genepool_lab.drill.round", str(folder), site, str(number)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([*words, str(source), str(target)], check=True, env=environment)
        with np.load(target) as archive:
            net = dict(archive)
        images = int(net.pop("images"))
        flare.send(FLModel(params=net, meta={"NUM_STEPS_CURRENT_ROUND": images}))


if __name__ == "__main__":
    main()
