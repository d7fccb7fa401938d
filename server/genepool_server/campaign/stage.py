"""The processes of one campaign: a SuperLink on loopback that answers this user's own processes, and the gate to it."""

import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from genepool_protocol.machine.processes import Child, free_port, script
from genepool_protocol.wire.documents import moment
from genepool_protocol.wire.errors import Unavailable
from genepool_server import durable
from genepool_server.campaign import server_app
from genepool_server.campaign.control import Control
from genepool_server.campaign.gate import FleetGate
from genepool_server.config import ServerConfig
from genepool_server.net import Address
from genepool_server.pool.sites.campaigns import CampaignRecord
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.tls import identity

_READY: Final = 120.0  # seconds for the SuperLink
_CERTIFIED: Final = timedelta(hours=1)  # that the certificate outlives the campaign

KNOWN: Final = "superlink.sqlite"
"""What the SuperLink knows, in the folder of the campaign's files."""


@dataclass(frozen=True, slots=True)
class GateDoors:
    """Where the campaign's gate is.

    Attributes:
        listen: where it listens; port 0: a free one.
        advertise: what sites are told instead, if another address leads to it.
    """

    listen: Address
    advertise: Address | None = None

    @classmethod
    def again(cls, record: CampaignRecord) -> Self:
        """Where the gate of a campaign was before, so that nodes find it there.

        Raises:
            InvalidInput: ADDRESS_MALFORMED.
        """
        return cls(Address.parse(record.listen), Address.parse(record.address))

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
    """Starts the processes on entering, and ends them on leaving; `restart` starts Flower's part of them anew.

    What the SuperLink knows of nodes lies in a file, so a new one on the same port goes on with them.

    Args:
        place: the pool.
        config: its settings.
        record: of the campaign.
        files: the folder of its files.
        doors: where its gate is.

    Attributes:
        control: of the SuperLink.
        address: what sites are told.
        listen: where the gate listens.
        attempt: how often the SuperLink was started before.

    Raises:
        Unavailable: CAMPAIGN_FAILED or PORT_IN_USE.
        InvalidInput: OPTION_INVALID or CONFIG_INVALID, an address.
        StorageError: DISK_FULL or DISK_FAILED.
    """

    control: Control
    address: Address
    listen: Address
    attempt: int

    def __init__(
        self, place: PoolFolder, config: ServerConfig, record: CampaignRecord, files: Path, doors: GateDoors
    ) -> None:
        self._place, self._config, self._record, self._files, self._doors = place, config, record, files, doors
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._tls, self._port = self._certify(undo), free_port()
            tls, superlink, doors = self._tls, f"127.0.0.1:{self._port}", self._doors
            self._child = self._superlink(self._record.restarts)
            undo.callback(self._end_superlink)
            self.control = undo.enter_context(Control(superlink, tls.ca.read_bytes()))
            self._wait()
            gate = undo.enter_context(FleetGate(doors.listen, superlink, ca=tls.ca, key=tls.key, chain=tls.chain))
            self.listen, self.address = (
                gate.bound,
                doors.advertise or Address(doors.told(self._config), gate.bound.port),
            )
            self._undo = undo.pop_all()
        return self

    def restart(self, attempt: int) -> None:
        """Start the SuperLink anew, with what it knew, on the same port; the gate stays.

        Args:
            attempt: how often it was started before.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        self._end_superlink()
        self._child = self._superlink(attempt)
        self._wait()

    def _end_superlink(self) -> None:
        self._child.stop()

    def _wait(self) -> None:
        self.control.wait(_READY, lambda: self.up)

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @property
    def up(self) -> bool:
        """Whether the SuperLink is there."""
        return self._child.returncode is None

    def check(self) -> None:
        """Refuse to go on without the SuperLink.

        Raises:
            Unavailable: CAMPAIGN_FAILED.
        """
        if not self.up:
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
        hosts, end = self._doors.hosts(self._config), moment(self._record.deadline) + _CERTIFIED
        own = identity.temporary(self._place.keys, hosts, identity.utc_now(), end)
        tls = _Tls(self._place.ca_crt.absolute(), self._files / "tls.pem", self._files / "tls.crt")
        undo.callback(durable.wipe, tls.key)
        durable.write(tls.key, own.key)
        durable.write(tls.chain, own.chain)
        return tls

    def _superlink(self, attempt: int) -> Child:
        self.attempt = attempt
        tls, home, empty = self._tls, self._files / "home", self._files / "empty"
        for folder in (home, empty):
            durable.mkdir(folder)
        command = [sys.executable, "-m", "genepool_server.campaign.superlink", "--enable-supernode-auth"]
        command += ["--ssl-ca-certfile", str(tls.ca), "--ssl-certfile", str(tls.chain), "--ssl-keyfile", str(tls.key)]
        command += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--database", str(self._files / KNOWN)]
        env = {
            "FLWR_HOME": str(home),
            server_app.POOL: str(self._place.root.absolute()),
            server_app.CAMPAIGN: self._record.id,
            server_app.ATTEMPT: str(attempt),
            # flwr finds its helpers on PATH, and they must be those of this environment
            "PATH": f"{Path(script('flower-superlink')).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        log = self._files / "superlink.log"
        return Child("the SuperLink", command, log, env=env, cwd=empty, reason="CAMPAIGN_FAILED")
