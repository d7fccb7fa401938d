"""A node that was killed and comes back: it signs itself off first, else it would be kept out until it was given up.

Flower takes a node for present until it misses its heartbeats, and meanwhile refuses it a second time. So the number
that Flower gave the node lies on the disk while it is there.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

from genepool_client.transport.durable import write_json


def remember(client: ModuleType, path: Path) -> None:
    """Let a module of flwr's connections note the node's number, and sign off the one that is noted before.

    Args:
        client: the module; its `http_request_response` is wrapped.
        path: where the number is noted; its folder exists when a connection is made.
    """
    connect = client.__dict__["http_request_response"]

    @contextmanager
    def connection(address: str, *rest: Any, **options: Any) -> Iterator[tuple[Any, ...]]:
        sign_off(path, address, *rest)
        with connect(address, *rest, **options) as parts:
            write_json(path, {"superlink": address, "node": parts[0]})
            yield parts
        path.unlink(missing_ok=True)

    client.__dict__["http_request_response"] = connection


def sign_off(path: Path, address: str, insecure: bool, certificates: Any, keys: Any, *_: Any) -> None:
    """Tell a SuperLink that the node which is noted for it has gone; nothing when none is, or it does not listen.

    Args:
        path: of the note.
        address: HOST:PORT of the SuperLink.
        insecure: whether it is spoken to without TLS.
        certificates: of its CA, as flwr takes them.
        keys: of the node.
    """
    try:
        note = json.loads(path.read_bytes())
        node = int(note["node"]) if note["superlink"] == address else 0
    except (OSError, ValueError, TypeError, KeyError):
        return
    if not node or keys is None:
        return
    from flwr.proto.fleet_pb2 import DeactivateNodeRequest
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    said: list[Any] = [RuntimeVersionHttpInterceptor(component_name="SuperNode"), NodeAuthHttpInterceptor(*keys)]
    with (
        suppress(httpx.HTTPError, RuntimeError, OSError),
        FleetHttpClient.from_server_address(address, insecure, certificates, said) as client,
    ):
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
