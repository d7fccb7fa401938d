"""`python -m genepool_protocol.machine.superlink ...`: flower-superlink that answers this user's own processes only."""

import importlib

from genepool_protocol.machine.launching import be_quiet, no_core_dumps

be_quiet()
no_core_dumps()

from genepool_protocol.machine import neighbours  # noqa: E402 - the switches come first


def main() -> None:
    """Flower's own command, with the neighbours shut out; takes its options."""
    neighbours.shut_out(importlib.import_module("flwr.superlink.main"))
    importlib.import_module("flwr.superlink.cli.flower_superlink").flower_superlink()


if __name__ == "__main__":
    main()
