"""The HTTP proxy on the way to a pool: $GENEPOOL_PROXY, else $https_proxy or $http_proxy, less what $no_proxy names.

Programs of this machine are never asked for through a proxy. An empty $GENEPOOL_PROXY stands for none.
"""

import ipaddress
import os
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

from genepool_protocol.machine import variables
from genepool_protocol.wire.errors import InvalidInput

VARIABLE: Final = variables.PROXY.name


def proxy_for(host: str) -> str:
    """The proxy for a host, http://[USER:PASSWORD@]HOST:PORT; empty for none.

    Args:
        host: a name or an IP address without brackets.

    Raises:
        InvalidInput: OPTION_INVALID, the variable names no HTTP proxy.
    """
    usual = urllib.request.getproxies_environment()
    proxy = os.environ.get(VARIABLE, usual.get("https") or usual.get("http") or "")
    if not proxy or is_local(host) or _spared(host, usual):
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        sound = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        sound = False
    if not sound:
        raise InvalidInput(
            "OPTION_INVALID",
            f"the proxy for {host} is not of the form http://HOST:PORT",
            f"mend {VARIABLE} or https_proxy; an empty {VARIABLE} goes without a proxy",
        )
    return proxy


def _spared(host: str, usual: dict[str, str]) -> bool:
    # the type stubs do not know it; `proxy_bypass` would ask the system's settings on a Mac, and not the environment
    return bool(urllib.request.proxy_bypass_environment(host, usual))  # type: ignore[attr-defined]


def is_local(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def channel_options(address: str) -> list[tuple[str, Any]]:
    """What tells gRPC of the proxy for an address.

    Args:
        address: HOST:PORT.

    Raises:
        InvalidInput: OPTION_INVALID, see `proxy_for`.
    """
    proxy = proxy_for(address.rpartition(":")[0].strip("[]"))
    return [("grpc.http_proxy", proxy)] if proxy else [("grpc.enable_http_proxy", 0)]


def shown(proxy: str) -> str:
    """HOST:PORT of a proxy, without what is secret in its address."""
    parts = urlsplit(proxy)
    return f"{parts.hostname}:{parts.port or 80}"
