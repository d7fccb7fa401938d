"""Which Flower the parts that reach into it were read and tested with."""

from importlib.metadata import version
from typing import Final

from genepool_protocol.wire.errors import VersionMismatch

VERIFIED: Final = "1.41."


def check_version(what: str, extra: str) -> None:
    """Refuse a flwr whose inner parts were not read.

    Args:
        what: needs them: "campaigns".
        extra: of our distribution, which brings a flwr that fits: "server".

    Raises:
        VersionMismatch: API_VERSION.
    """
    installed = version("flwr")
    if not installed.startswith(VERIFIED):
        raise VersionMismatch(
            "API_VERSION", f"{what} can use flwr {VERIFIED}x, here is {installed}", f"install genepool[{extra}]"
        )
