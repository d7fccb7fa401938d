"""Settings of every test: one thread of arithmetic, nobody is called at home, laws have no deadline."""

import os
import tempfile

os.environ.update(
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    FLWR_TELEMETRY_ENABLED="0",
    HF_HUB_OFFLINE="1",
)

from hypothesis import settings

settings.register_profile("genepool", deadline=None)
settings.load_profile("genepool")


def pytest_configure(config):
    home = tempfile.TemporaryDirectory(prefix="genepool-home-")
    os.environ["GENEPOOL_HOME"] = home.name  # nothing of a test is remembered for the user
    config.add_cleanup(home.cleanup)


def pytest_collection_modifyitems(items):
    """Files with long tests first: what begins last must not be what all other workers wait for."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)
