"""The switches that keep the server's libraries quiet: no usage reports, no update checks, no downloads."""

import os
from typing import Final

QUIET: Final[dict[str, str]] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # Ray's processes are started with exec; gRPC need not follow them
}


def be_quiet() -> None:
    """Set the switches for this process and its children; call it before ray or grpc are imported."""
    os.environ.update(QUIET)
