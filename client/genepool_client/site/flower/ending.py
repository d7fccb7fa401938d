"""When a node ends by itself: its campaign's gate stays away, and the pool says that the campaign is over.

That the gate is away says little: the operator's machine may be starting anew, and the campaign goes on from its
record. So the node waits meanwhile, and its app works on.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx

_log = logging.getLogger(__name__)

LOOK: Final = 20.0  # seconds between two looks at the gate
_LOOKS: Final = 2  # in a row that find nobody, before the pool is asked
_PATIENCE: Final = 20.0  # seconds for an answer


def watch(
    address: str,
    certificates: Path,
    over: Callable[[], bool],
    end: Callable[[], None],
    waiting: Callable[[], None] = lambda: None,
) -> None:
    """Look after a gate in a thread, and end when the campaign behind it is over.

    Args:
        address: HOST:PORT of the gate.
        certificates: PEM file of its CA.
        over: asks whether the campaign is over; called while the gate is away.
        end: called once, when it is.
        waiting: called at each look while the node waits for the gate.
    """
    trusted = ssl.create_default_context(cafile=certificates)
    threading.Thread(
        target=_look, args=(lambda: answers(address, trusted), over, end, waiting), name="campaign-end", daemon=True
    ).start()


def answers(address: str, trusted: ssl.SSLContext) -> bool:
    """Whether somebody answers at the gate, even without a SuperLink behind it.

    Args:
        address: HOST:PORT.
        trusted: TLS that trusts its CA.
    """
    try:
        httpx.get(f"https://{address}/", verify=trusted, timeout=_PATIENCE)
    except httpx.TransportError:
        return False
    return True


def _look(
    there: Callable[[], bool], over: Callable[[], bool], end: Callable[[], None], waiting: Callable[[], None]
) -> None:
    missed = 0
    while True:
        time.sleep(LOOK)
        missed = 0 if there() else missed + 1
        if missed < _LOOKS:
            continue
        if over():
            end()
            return
        waiting()
        if missed == _LOOKS:
            _log.warning("the campaign's gate does not answer; this node waits for it")
