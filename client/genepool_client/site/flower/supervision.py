"""`genepool site run` under a service manager: what it hears of Flower's node.

Ready is the node when the SuperLink has taken it in. It gives a sign of life whenever it asks for an invitation or for
the end of a training. While a SuperLink is away Flower asks for nothing, and `ending` gives the signs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from flwr.supercore.exit import add_exit_handler

from genepool_protocol.machine.service_manager import ServiceManager


def report(client: ModuleType, manager: ServiceManager) -> None:
    """Let a module of flwr's node tell a service manager how it is.

    Args:
        client: the module; its `http_request_response` and `_push_messages` are wrapped.
        manager: who is told.
    """
    connect, push = client.__dict__["http_request_response"], client.__dict__["_push_messages"]

    @contextmanager
    def connection(address: str, *rest: Any, **options: Any) -> Iterator[tuple[Any, ...]]:
        with connect(address, *rest, **options) as (node, receive, *others):
            manager.ready(f"node {node} answers invitations from {address}")
            yield (node, _beating(receive, manager), *others)

    def push_messages(state: Any, *rest: Any, **options: Any) -> None:
        push(_WatchedState(state, manager), *rest, **options)

    client.__dict__.update({"http_request_response": connection, "_push_messages": push_messages})
    add_exit_handler(manager.stopping)


def _beating(receive: Callable[[], Any], manager: ServiceManager) -> Callable[[], Any]:
    def beaten() -> Any:
        manager.alive()
        return receive()

    return beaten


class _WatchedState:
    """Flower's node state, which is asked twice a second whether a training has ended."""

    def __init__(self, state: Any, manager: ServiceManager) -> None:
        self._state, self._manager = state, manager

    def __getattr__(self, name: str) -> Any:
        if name == "get_messages_legacy":
            self._manager.alive()
        return getattr(self._state, name)
