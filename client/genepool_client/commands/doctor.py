"""`genepool doctor`: what this machine has and lacks for a role, a line each, with what to do about it."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from genepool_console import terminal
from genepool_protocol import __version__
from genepool_protocol.machine.launching import QUIET
from genepool_protocol.wire.errors import GenepoolError, InvalidInput

if TYPE_CHECKING:
    from genepool_protocol.trust.anchors import Anchors

Role = Literal["site", "consumer", "server"]

_ROLES: Final[tuple[Role, ...]] = ("site", "consumer", "server")
_PACKAGES: Final[dict[Role, tuple[str, ...]]] = {
    "consumer": ("torch", "torchvision", "timm", "pillow"),
    "site": ("torch", "torchvision", "timm", "pillow", "flwr"),
    "server": (
        "torch",
        "ray",
        "flwr",
        "sqlalchemy",
        "psycopg",
        "obstore",
        "grpcio-health-checking",
        "grpcio-reflection",
    ),
}
_COMMON: Final = ("numpy", "grpcio", "protobuf", "cryptography", "pydantic")
_FREE_BYTES: Final[dict[Role, int]] = {"consumer": 500 << 20, "site": 1 << 30, "server": 2 << 30}
_SHARED_BYTES: Final = 512 << 20
"""Of /dev/shm: Ray's object store and the slots that descendants are built in."""
_TEMPORARY: Final = 40
"""Characters of the temporary folder's path: Ray puts sockets below it, whose paths have at most 107."""
_MIB: Final = 1 << 20
_CLOCKS: Final = ("(CERT_TOO_EARLY)", "(CERT_TOO_LATE)", "(CLOCK_WRONG)")
"""What a pool's check says when one of two clocks is wrong."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line: what was looked at, whether it is well, what was found, and how to mend it."""

    check: str
    ok: bool
    found: str
    fix: str = ""

    def __str__(self) -> str:
        mend = f"; {self.fix}" if self.fix and not self.ok else ""
        return f"{'ok     ' if self.ok else 'PROBLEM'}  {self.check}: {self.found}{mend}"


def doctor(
    role: Annotated[
        str | None, typer.Argument(metavar="[site|consumer|server]", help="For whom; by default every role.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", help="pool.json or HOST:PORT: also see whether that pool can be reached.")
    ] = None,
    *,
    as_json: terminal.JsonOption = False,
) -> None:
    """What this machine has and lacks; exit code 1 when something must be mended."""
    findings = examine(_roles(role), pool)
    well = all(finding.ok for finding in findings)
    value = {"ok": well, "findings": [asdict(finding) for finding in findings]}
    terminal.answer(value, as_json=as_json, text=[str(finding) for finding in findings])
    if not well:
        raise typer.Exit(1)


def examine(roles: Sequence[Role], pool: str | None = None) -> list[CheckResult]:
    """Every finding for these roles, and for a pool when one is named."""
    findings = [_python(), CheckResult("genepool", True, __version__), *_packages(roles), _quiet(), _temporary(roles)]
    findings += [_disk(roles), *_shared_memory(roles)]
    return [*findings, *(_pool(pool) if pool is not None else [_clock(None)])]


def _roles(role: str | None) -> tuple[Role, ...]:
    if role is None:
        return _ROLES
    for known in _ROLES:
        if role == known:
            return (known,)
    raise InvalidInput("OPTION_INVALID", f"there is no role {role!r}", f"choose one of: {', '.join(_ROLES)}")


def _python() -> CheckResult:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return CheckResult("python", sys.version_info >= (3, 11), text, "install Python 3.11 or newer")


def _packages(roles: Sequence[Role]) -> Iterator[CheckResult]:
    packages = dict.fromkeys(_COMMON) | {name: None for role in roles for name in _PACKAGES[role]}
    extra = roles[0] if len(roles) == 1 else "all"
    for name in packages:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield CheckResult(name, False, "not installed", f"pip install 'genepool[{extra}]'")
            continue
        why = _version_problem(name, version)
        yield CheckResult(name, not why, version + (f", {why}" if why else ""), f"pip install 'genepool[{extra}]'")


def _version_problem(name: str, version: str) -> str:
    """What is wrong with a version, by what our own distribution asks for."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # comes with every extra; without one, what is missing is said anyway
        return ""
    for text in metadata.requires("genepool") or ():
        rule = Requirement(text)
        if rule.name == name and not rule.specifier.contains(version, prereleases=True):
            return f"genepool needs {rule.specifier}"
    return ""


def _quiet() -> CheckResult:
    loud = [name for name, value in QUIET.items() if os.environ.get(name) != value]
    return CheckResult(
        "quiet switches",
        not loud,
        "telemetry, update checks and downloads are off" if not loud else f"not set: {', '.join(loud)}",
        "start programs through genepool, or set " + " ".join(f"{name}={QUIET[name]}" for name in loud),
    )


def _temporary(roles: Sequence[Role]) -> CheckResult:
    folder = tempfile.gettempdir()
    sockets = {"site", "server"} & set(roles)
    short = len(folder) <= _TEMPORARY or not sockets
    text = f"{folder} ({len(folder)} characters)"
    return CheckResult("temporary folder", short, text, f"set TMPDIR to a path of at most {_TEMPORARY} characters")


def _disk(roles: Sequence[Role]) -> CheckResult:
    need = max(_FREE_BYTES[role] for role in roles)
    free = {where: shutil.disk_usage(where).free for where in (tempfile.gettempdir(), str(Path.cwd()))}
    text = ", ".join(f"{amount // _MIB:,} MiB in {where}" for where, amount in free.items())
    return CheckResult("free disk", min(free.values()) >= need, text, f"free {need // _MIB:,} MiB")


def _shared_memory(roles: Sequence[Role]) -> Iterator[CheckResult]:
    shared = Path("/dev/shm")  # noqa: S108 - Linux's memory file system is looked at, not written to
    if not {"site", "server"} & set(roles):
        return
    if not shared.is_dir():
        yield CheckResult("shared memory", True, "no /dev/shm: the temporary folder takes its place")
        return
    free = shutil.disk_usage(shared).free
    fix = "give the machine or container more, for instance docker run --shm-size 1g"
    yield CheckResult("shared memory", free >= _SHARED_BYTES, f"{free // _MIB:,} MiB in {shared}", fix)


def _clock(anchors: "Anchors | None", asked: CheckResult | None = None) -> CheckResult:
    now, check = datetime.now(UTC), "clock"
    fix = "set the clock: certificates and invitations depend on it"
    if anchors is None:
        return CheckResult(check, now.year >= 2025, f"{now:%Y-%m-%d %H:%M:%S} UTC", fix)
    from cryptography import x509

    try:
        ca = x509.load_pem_x509_certificate(anchors.ca_pem.encode())
    except ValueError:
        return CheckResult("anchors", False, "the pool's CA is no certificate", "ask the operator for pool.json")
    if asked is not None and any(reason in asked.found for reason in _CLOCKS):
        return CheckResult(check, False, f"{now:%Y-%m-%d %H:%M:%S} UTC, and the pool's time is another", fix)
    first, last = ca.not_valid_before_utc, ca.not_valid_after_utc
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC; the pool's CA is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return CheckResult(check, first <= now <= last, text, fix)


def _pool(pool: str) -> Iterator[CheckResult]:
    from genepool_client.transport import known_pools
    from genepool_client.transport.channel import Connection

    anchors: Anchors | None = None

    def ask() -> str:
        nonlocal anchors
        anchors = known_pools.find(pool)
        with Connection(anchors, timeout=10.0) as connection:
            capabilities = connection.capabilities()
        names = ", ".join(sorted(info.name for info in capabilities.blueprints))
        return (
            f"{capabilities.active_contributions} active learngenes; {names}; version {capabilities.software_version}"
        )

    asked = _tried(f"pool {pool}", ask)
    yield asked
    yield from _proxy(anchors)
    yield _clock(anchors, asked)


def _proxy(anchors: "Anchors | None") -> Iterator[CheckResult]:
    """Which way leads to the pool."""
    from genepool_client.transport import proxies

    if anchors is None:
        return
    host = anchors.address.rpartition(":")[0].strip("[]")

    def ask() -> str:
        proxy = proxies.proxy_for(host)
        return f"{proxies.shown(proxy)} leads to {host}" if proxy else f"none is asked for {host}"

    yield _tried("proxy", ask)


def _tried(check: str, ask: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(check, True, ask())
    except GenepoolError as exc:
        return CheckResult(check, False, f"{exc.message} ({exc.reason})", exc.fix)
