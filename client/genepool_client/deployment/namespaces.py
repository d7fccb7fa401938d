"""A network of its own for every site: a Linux network namespace with one cable, to the pool's machine.

A site then reaches the pool's address and nothing else: no other site, and no other machine. Needs root and iproute2.
"""

import json
import os
import shutil
import subprocess
import sys
from typing import Final

from pydantic import Field

from genepool_protocol.machine.launching import environment
from genepool_protocol.wire.documents import Document

_PREFIX: Final = "10.213"  # private (RFC 1918); the third part is the deployment's
_MOST: Final = 250  # sites of one network


class SiteNetworks(Document):
    """The networks of one deployment.

    Attributes:
        number: tells it from others of this machine; the third part of its addresses.
        sites: how many there are.
    """

    number: int = Field(ge=0, le=255)
    sites: int = Field(ge=1, le=_MOST)

    @property
    def pool(self) -> str:
        """Where sites find the pool."""
        return f"{_PREFIX}.{self.number}.1"

    def name(self, site: int) -> str:
        """The namespace of a site, from 0."""
        return f"genepool-{self.number}-{site}"

    def address(self, site: int) -> str:
        """The address of a site, from 0."""
        return f"{_PREFIX}.{self.number}.{site + 2}"

    def within(self, site: int) -> list[str]:
        """The words that a command of that site begins with."""
        return ["ip", "netns", "exec", self.name(site)]


class NoNamespacesError(Exception):
    """This system does not allow them; the text says why."""


def plan(sites: int) -> SiteNetworks:
    """A network whose addresses nobody has here.

    Raises:
        NoNamespacesError: this system, this user or so many sites cannot have one.
    """
    if not sys.platform.startswith("linux"):
        raise NoNamespacesError("only Linux has network namespaces")
    if os.geteuid() != 0:
        raise NoNamespacesError("only root may make network namespaces")
    if shutil.which("ip") is None:
        raise NoNamespacesError("the program ip is not installed (apt-get install iproute2)")
    if sites > _MOST:
        raise NoNamespacesError(f"one machine can have {_MOST} of them here")
    taken = _addresses()
    names = _ip("netns", "list").split()
    for number in range(256):
        network = SiteNetworks(number=number, sites=sites)
        if network.pool not in taken and network.name(0) not in names:
            return network
    raise NoNamespacesError("every network of 10.213.0.0/16 is taken")


def lay(network: SiteNetworks) -> None:
    """Make the namespaces and their cables; what is there already is made anew.

    Raises:
        NoNamespacesError: the system refuses; nothing is left.
    """
    take_away(network)
    if network.pool in _addresses():
        raise NoNamespacesError(f"another program has the address {network.pool}")
    try:
        for site in range(network.sites):
            name, here = network.name(site), f"gp{network.number}h{site}"
            _ip("netns", "add", name)
            _ip("link", "add", here, "type", "veth", "peer", "name", "pool", "netns", name)
            _ip("address", "add", network.pool, "peer", network.address(site), "dev", here)
            _ip("link", "set", here, "up")
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", network.address(site), "peer", network.pool, "dev", "pool"),
                ("link", "set", "pool", "up"),
            ):
                _ip("-netns", name, *words)
    except NoNamespacesError:
        take_away(network)
        raise


def take_away(network: SiteNetworks) -> None:
    """Delete what is there of it; cables go with the namespaces."""
    if shutil.which("ip") is None:
        return
    there = set(_ip("netns", "list").split())
    for name in map(network.name, range(network.sites)):
        if name in there:
            _ip("netns", "delete", name)


def _addresses() -> set[str]:
    rows = json.loads(_ip("-json", "address"))
    return {inner["local"] for row in rows for inner in row.get("addr_info", []) if "local" in inner}


def _ip(*words: str) -> str:
    ended = subprocess.run(["ip", *words], capture_output=True, text=True, env=environment(), check=False)
    if ended.returncode:
        raise NoNamespacesError(f"ip {' '.join(words)} says: {ended.stderr.strip()[:200]}")
    return ended.stdout
