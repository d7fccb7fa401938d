"""The drill's NVFlare admin, under NVFlare's Python: admin.py KIT NAME (submit SETTINGS | state JOB).

submit waits until all clients are there and prints the job's id; state prints its state.
"""

import json
import os
import sys
import time
from pathlib import Path

from drill_server import DrillAggregator, DrillFedAvg, DrillPersistor
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import FrameworkType, ScriptRunner

SIDE = Path(__file__).parent


def submit(session: Session, settings: str) -> str:
    """Submit the job with these settings."""
    terms = json.loads(os.environ["DRILL_TERMS"])
    sites, rounds = terms["sites"], terms["rounds"]
    while len(session.get_system_info().client_info) < sites:
        time.sleep(1)
    tolerant = settings == "tolerant"
    job = FedJob(name="drill", min_clients=4 if tolerant else sites)
    if tolerant:
        job.to_server(DrillPersistor(), id="persistor")
        job.to_server(FullModelShareableGenerator(), id="shareable_generator")
        job.to_server(DrillAggregator(), id="aggregator")
        controller = ScatterAndGather(
            min_clients=4,
            num_rounds=rounds,
            wait_time_after_min_received=terms["deadline"] // 3,
            train_timeout=terms["deadline"],
            persistor_id="persistor",
            ignore_result_error=True,
        )
    else:
        controller = DrillFedAvg(num_clients=sites, num_rounds=rounds, persistor_id="")
    job.to_server(controller)
    runner = {"script": str(SIDE / "drill_client.py"), "framework": FrameworkType.RAW}
    for site in range(sites):
        job.to(ScriptRunner(**runner), f"site-{site}")
    folder = Path.cwd() / "jobs"
    job.export_job(str(folder))
    return str(session.submit_job(str(folder / "drill")))


def main() -> None:
    """See the module."""
    kit, name, what, argument = sys.argv[1:]
    session = new_secure_session(username=name, startup_kit_location=kit, timeout=60.0)
    try:
        told = submit(session, argument) if what == "submit" else str(session.get_job_status(argument))
    finally:
        session.close()
    print(told)


if __name__ == "__main__":
    main()
