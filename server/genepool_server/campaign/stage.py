"""The processes of one campaign: a SuperLink on loopback that answers this user's own processes, and the gate to it."""

import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from genepool_protocol.machine.processes import Child, free_port, script
from genepool_protocol.wire.errors import Unavailable
from genepool_server import durable
from genepool_server.campaign import server_app
from genepool_server.campaign.control import Control
from genepool_server.campaign.gate import FleetGate
from genepool_server.config import ServerConfig
from genepool_server.net import Address
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.tls import identity

_READY: Final = 120.0  # seconds for the SuperLink
_CERTIFIED: Final = timedelta(hours=1)  # that the certificate outlives the campaign


@dataclass(frozen=True, slots=True)
class GateDoors:
    """Where the campaign's gate is.

    Attributes:
        listen: where it listens; port 0: a free one.
        advertise: what sites are told instead, if another address leads to it.
    """

    listen: Address
    advertise: Address | None = None

    def told(self, config: ServerConfig) -> str:
        """The host that sites are told."""
        if self.advertise:
            return self.advertise.host
        return config.advertised(self.listen, socket.gethostname()).host

    def hosts(self, config: ServerConfig) -> list[str]:
        """The hosts that the gate's certificate is for."""
        own = [] if self.listen.everywhere else [self.listen.bare_host]
        return [self.told(config).strip("[]"), *own]


@dataclass(frozen=True, slots=True)
class _Tls:
    """PEM files: the pool's CA, and the key and certificate of this campaign's servers."""

    ca: Path
    key: Path
    chain: Path


class Stage:
    """Starts the processes on entering, and ends them on leaving.

    Args:
        place: the pool.
        config: its settings.
        campaign: an id.
        files: the folder of the campaign's files.
        doors: where its gate is.
        deadline: the campaign's.

    Attributes:
        control: of the SuperLink.
        address: what sites are told.

    Raises:
        Unavailable: CAMPAIGN_FAILED or PORT_IN_USE.
        InvalidInput: OPTION_INVALID or CONFIG_INVALID, an address.
        StorageError: DISK_FULL or DISK_FAILED.
    """

    control: Control
    address: Address

    def __init__(
        self, place: PoolFolder, config: ServerConfig, campaign: str, files: Path, doors: GateDoors, deadline: datetime
    ) -> None:
        self._place, self._config, self._campaign, self._files = place, config, campaign, files
        self._doors, self._deadline = doors, deadline
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            tls, port = self._certify(undo), free_port()
            self._child = self._superlink(tls, port)
            undo.callback(self._child.stop)
            superlink, doors = f"127.0.0.1:{port}", self._doors
            self.control = undo.enter_context(Control(superlink, tls.ca.read_bytes()))
            self.control.wait(_READY, lambda: self._child.returncode is None)
            gate = undo.enter_context(FleetGate(doors.listen, superlink, ca=tls.ca, key=tls.key, chain=tls.chain))
            self.address = doors.advertise or Address(doors.told(self._config), gate.bound.port)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def check(self) -> None:
        """Refuse to go on without the SuperLink.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        if self._child.returncode is not None:
            raise self.failed("Flower's SuperLink ended")

    def failed(self, why: str, account: str = "") -> Unavailable:
        """The error of a campaign whose processes do not do what they should.

        Args:
            why: the sentence.
            account: what a process wrote; kept beside the SuperLink's log.
        """
        log = self._child.log
        if account:
            log = log.with_name("serverapp.log")
            durable.write(log, account.encode())
        return Unavailable("CAMPAIGN_FAILED", why, f"see {log}")

    def _certify(self, undo: ExitStack) -> _Tls:
        hosts, end = self._doors.hosts(self._config), self._deadline + _CERTIFIED
        own = identity.temporary(self._place.keys, hosts, identity.utc_now(), end)
        tls = _Tls(self._place.ca_crt.absolute(), self._files / "tls.pem", self._files / "tls.crt")
        undo.callback(durable.wipe, tls.key)
        durable.write(tls.key, own.key)
        durable.write(tls.chain, own.chain)
        return tls

    def _superlink(self, tls: _Tls, port: int) -> Child:
        home, empty = self._files / "home", self._files / "empty"
        for folder in (home, empty):
            durable.mkdir(folder)
        command = [sys.executable, "-m", "genepool_server.campaign.superlink", "--enable-supernode-auth"]
        command += ["--ssl-ca-certfile", str(tls.ca), "--ssl-certfile", str(tls.chain), "--ssl-keyfile", str(tls.key)]
        command += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
        env = {
            "FLWR_HOME": str(home),
            server_app.POOL: str(self._place.root.absolute()),
            server_app.CAMPAIGN: self._campaign,
            # flwr finds its helpers on PATH, and they must be those of this environment
            "PATH": f"{Path(script('flower-superlink')).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        log = self._files / "superlink.log"
        return Child("the SuperLink", command, log, env=env, cwd=empty, reason="CAMPAIGN_FAILED")
