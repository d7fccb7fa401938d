"""The switches that keep every library quiet: no telemetry, no update checks, no downloads."""

import os
from typing import Final

QUIET: Final[dict[str, str]] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # its fork handlers abort what Ray forks beside a thread that speaks gRPC (tests/integration/flower shows it)
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}


def be_quiet() -> None:
    """Set the switches for this process and its children; call it before ray, flwr or timm are imported."""
    os.environ.update(QUIET)
