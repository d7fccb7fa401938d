"""The server's settings: one frozen value, and `genepool.toml`, which people edit.

The descriptions of the fields are the comments of the file.
"""

import ipaddress
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from genepool_console.page_place import place
from genepool_protocol.trust import strict_json
from genepool_protocol.trust.keys import WitnessVerifier
from genepool_protocol.trust.witness import MAX_WITNESSES, WitnessPolicy
from genepool_protocol.wire.documents import first_problem_of_settings
from genepool_protocol.wire.errors import InvalidInput, NotFound
from genepool_protocol.wire.limits import LIMITS
from genepool_server.net import HOST, LAST_PORT, Address
from genepool_server.pool.contributions.quotas import Quotas
from genepool_server.pool.review_queue import ReviewPolicy
from genepool_server.pool.store.storage import Storage
from genepool_server.serving.config import ServingConfig

CONFIG_FILE: Final = "genepool.toml"

_HTTPS: Final = re.compile(rf"https://({HOST.pattern})(:[0-9]{{1,5}})?/?")


def _address(text: str) -> str:
    try:
        return str(Address.parse(text))
    except InvalidInput as exc:
        raise ValueError(exc.diagnostics()) from exc


def _optional_address(text: str) -> str:
    return _address(text) if text else text


def _advertised(text: str) -> str:
    if text and not HOST.fullmatch(text):
        return _address(text)
    return text


def _place(**address: str) -> str:
    try:
        Storage(**address).check()
    except InvalidInput as exc:
        raise ValueError(exc.diagnostics()) from None
    return "".join(address.values())


def _hosts(texts: list[str]) -> list[str]:
    for text in texts:
        if not HOST.fullmatch(text if ":" not in text else f"[{text}]"):
            raise ValueError(f"{text[:80]!r} is neither a host name nor an IP address")
    return texts


def _networks(texts: list[str]) -> list[str]:
    for text in texts:
        ipaddress.ip_network(text)  # raises what pydantic expects
    return texts


def _page_place(text: str) -> str:
    try:
        return ":".join(map(str, place(text, "a page"))) if text else text
    except InvalidInput as exc:
        raise ValueError(exc.diagnostics()) from exc


def _https(text: str) -> str:
    if text and not _HTTPS.fullmatch(text):
        raise ValueError(f"{text[:300]!r} is not https://HOST or https://HOST:PORT")
    return text


def _ledger(text: str) -> str:
    return _place(ledger=text)


def _blobs(text: str) -> str:
    return _place(blobs=text)


_MODEL: Final = ConfigDict(extra="forbid", frozen=True, strict=True)


class ServingSettings(BaseModel):
    """How selections and descendants are computed."""

    model_config = _MODEL

    workers: int = Field(
        default=1, ge=0, le=256, description="Worker processes (Ray); 0: threads of the server's own process."
    )
    score_threads: int = Field(
        default=2, ge=1, le=256, description="Candidates that one worker scores at the same time."
    )
    slots: int = Field(default=2, ge=1, le=256, description="Descendants that are built or streamed at the same time.")
    object_store_mib: int = Field(default=80, ge=75, le=65536, description="MiB of shared memory for Ray's store.")
    temp_dir: str = Field(default="", description="Folder for Ray's sockets, a short path; empty: the system's.")
    max_concurrent_selects: int = Field(default=2, ge=1, le=256, description="Selections that run at the same time.")
    select_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="Seconds that one selection may be at work; then it is ended."
    )
    queue: int = Field(default=32, ge=0, le=4096, description="Requests of each kind that wait; one more is refused.")
    queue_each: int = Field(default=8, ge=0, le=4096, description="How many of them may be one caller's.")
    mapped_files: int = Field(default=256, ge=1, le=65536, description="Learngenes that one process keeps mapped.")
    stall_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="A call that moves nothing for so long is ended."
    )
    first_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="A call whose first message does not come for so long is ended."
    )
    watch_seconds: float = Field(
        default=300.0, gt=0, le=86400, description="Seconds that a call to health or reflection may last."
    )
    start_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="Seconds that the workers may take to start."
    )

    def config(self) -> ServingConfig:
        """The same for `serving`."""
        values = self.model_dump(exclude={"object_store_mib", "temp_dir", "first_seconds", "watch_seconds"})
        return ServingConfig(
            object_store_bytes=self.object_store_mib << 20,
            temp_dir=Path(self.temp_dir) if self.temp_dir else None,
            **values,
        )


class QuotaSettings(BaseModel):
    """What one site, or one address without a certificate, may take."""

    model_config = _MODEL

    contributions_per_day: int = Field(
        default=200, ge=1, le=1_000_000, description="Contributions between two midnights (UTC)."
    )
    spool_mib: int = Field(default=256, ge=1, le=1 << 20, description="MiB of its unfinished uploads together.")
    open_uploads: int = Field(
        default=LIMITS.open_uploads, ge=1, le=LIMITS.open_uploads, description="Unfinished uploads at the same time."
    )
    calls_per_minute: int = Field(
        default=120, ge=1, le=60_000, description="Calls a minute of each of BeginNonce, Begin, Commit and Renew."
    )
    open_calls: int = Field(
        default=32, ge=1, le=65536, description="Calls at the same time of one site, or of one address."
    )
    anonymous_descents_per_minute: int = Field(
        default=120,
        ge=1,
        le=60_000,
        description="Descendants a minute for an address without a certificate (of IPv6: for its /64).",
    )

    def quotas(self) -> Quotas:
        """The same for the pool."""
        return Quotas(self.contributions_per_day, self.spool_mib << 20, self.open_uploads)


class EntranceSettings(BaseModel):
    """One port from which everything is reached: reading, certificates and a campaign's gate."""

    model_config = _MODEL

    listen: Annotated[str, AfterValidator(_optional_address)] = Field(
        default="",
        description="Where, HOST:PORT, for instance 0.0.0.0:443; empty: nowhere. TLS is passed on, not opened.",
    )
    gate: Annotated[str, AfterValidator(_address)] = Field(
        default="127.0.0.1:8472", description="Where a campaign's gate listens when there is an entrance."
    )
    proxies: Annotated[list[str], AfterValidator(_networks)] = Field(
        default_factory=list,
        max_length=64,
        description="Addresses or networks of proxies before it that say for whom they come, by the PROXY protocol "
        "(version 1 or 2). Name every proxy: else all of its clients count as one caller.",
    )
    connections: int = Field(default=1024, ge=1, le=65536, description="Connections at the same time.")
    connections_each: int = Field(
        default=64, ge=1, le=65536, description="How many of them may be one address's (of IPv6: of its /64)."
    )


class MetricsSettings(BaseModel):
    """Numbers for Prometheus."""

    model_config = _MODEL

    listen: Annotated[str, AfterValidator(_page_place)] = Field(
        default="",
        description="Where they can be read, PORT (of this machine only) or HOST:PORT, for instance 127.0.0.1:9464; "
        "empty: nowhere. Nobody is asked who he is: keep the port from the network.",
    )


class DashboardSettings(BaseModel):
    """Pages for a browser that show the pool and change nothing."""

    model_config = _MODEL

    listen: Annotated[str, AfterValidator(_page_place)] = Field(
        default="",
        description="Where, PORT (of this machine only) or HOST:PORT, for instance 127.0.0.1:8480; empty: nowhere. "
        "Whoever reaches it sees what everybody may read; operators log in by `genepool-server dashboard link`.",
    )
    url: Annotated[str, AfterValidator(_https)] = Field(
        default="",
        description="The address by which browsers come through a proxy with TLS, https://HOST or https://HOST:PORT; "
        "empty: none is before it.",
    )


class LogSettings(BaseModel):
    """The lines that the server writes."""

    model_config = _MODEL

    form: Literal["auto", "text", "json"] = Field(
        default="auto", description="text, json (an object a line), or auto: text on a terminal, else json."
    )


class ServerConfig(BaseModel):
    """Everything that can be set."""

    model_config = _MODEL

    name: str = Field(
        default="pool.local/log",
        min_length=1,
        max_length=255,
        description="Name of the pool and of its log. Clients pin it: it cannot be changed later.",
    )
    listen: Annotated[str, AfterValidator(_address)] = Field(
        default="127.0.0.1:8470",
        description="Where the server listens, HOST:PORT; 0.0.0.0: everywhere; port 0: a free one.",
    )
    listen_certified: Annotated[str, AfterValidator(_optional_address)] = Field(
        default="",
        description="Where clients with a certificate connect; empty: the same host, and the next port.",
    )
    advertise_certified_port: int = Field(
        default=0, ge=0, le=LAST_PORT, description="The port of it that clients are told, if another one leads to it."
    )
    advertise: Annotated[str, AfterValidator(_advertised)] = Field(
        default="",
        description="The address that clients use, HOST or HOST:PORT; empty: the one that the server listens on.",
    )
    hosts: Annotated[list[str], AfterValidator(_hosts)] = Field(
        default_factory=list,
        max_length=64,
        description="More names and IP addresses by which clients know the server; its certificate names them, too.",
    )
    ledger: Annotated[str, AfterValidator(_ledger)] = Field(
        default="",
        description="Where the ledger is: postgresql://USER@HOST/NAME, without a password (that is in PGPASSWORD or "
        "~/.pgpass); empty: here, in ledger.sqlite.",
    )
    blobs: Annotated[str, AfterValidator(_blobs)] = Field(
        default="",
        description="Where the weights are: s3://BUCKET/PREFIX?endpoint=URL&region=NAME, without keys "
        "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY); empty: here, in blobs.",
    )
    admission: Literal["automatic", "manual"] = Field(
        default="automatic",
        description="automatic: what passes checks and screens becomes active. manual: after `genepool-server admit`.",
    )
    screening: Literal["enforce", "warn", "off"] = Field(
        default="enforce",
        description="Screens and canary: enforce: they reject, or hold for the operator. warn: they only note. off.",
    )
    approve_first: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="So many contributions of each site need `genepool-server admit` at first.",
    )
    witnesses: list[str] = Field(
        default_factory=list,
        max_length=MAX_WITNESSES,
        description="Keys of the log's witnesses, as `genepool witness init` prints them; clients pin them.",
    )
    quorum: int = Field(
        default=0, ge=0, description="How many of them must have cosigned a checkpoint before clients trust it."
    )
    anonymous_consumers: Literal["nobody", "local", "everybody"] = Field(
        default="local",
        description="Who may consume without a certificate: nobody, local (programs of this machine) or everybody.",
    )
    certificate_days: int = Field(
        default=90, ge=1, le=398, description="Days that a site's certificate is valid; sites renew it in time."
    )
    concurrent_calls: int = Field(
        default=256, ge=1, le=65536, description="Calls at the same time; one more is refused."
    )
    drain_seconds: float = Field(default=5.0, ge=0, le=3600, description="Seconds that running calls get at the end.")
    quotas: QuotaSettings = Field(default_factory=QuotaSettings, description="What one site may take, or one address.")
    serving: ServingSettings = Field(
        default_factory=ServingSettings, description="How selections and descendants are computed."
    )
    entrance: EntranceSettings = Field(
        default_factory=EntranceSettings, description="One port from which everything is reached."
    )
    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="Numbers for Prometheus.")
    dashboard: DashboardSettings = Field(
        default_factory=DashboardSettings, description="Pages for a browser that show the pool and change nothing."
    )
    logs: LogSettings = Field(default_factory=LogSettings, description="The lines that the server writes.")

    @model_validator(mode="after")
    def _policy(self) -> Self:
        try:
            keys = {WitnessVerifier.parse(witness) for witness in self.witnesses}
        except InvalidInput as exc:
            raise ValueError(exc.diagnostics()) from exc
        if self.quorum > len(keys):
            raise ValueError("quorum is larger than the number of witnesses")
        return self

    @property
    def reviews(self) -> ReviewPolicy:
        """What becomes of contributions that passed the numbered checks."""
        return ReviewPolicy(self.admission == "automatic", self.screening, self.approve_first)

    @property
    def policy(self) -> WitnessPolicy:
        """Whose cosignatures the log needs."""
        return WitnessPolicy(tuple(WitnessVerifier.parse(witness) for witness in self.witnesses), self.quorum)

    @property
    def storage(self) -> Storage:
        """Where ledger and weights are."""
        return Storage(self.ledger, self.blobs)

    @property
    def public(self) -> Address:
        """Where the server listens for everybody."""
        return Address.parse(self.entrance.listen or self.listen)

    def advertised(self, bound: Address, host_name: str) -> Address:
        """The address that clients use.

        Args:
            bound: where the server listens for everybody, with its real port.
            host_name: of this machine, for a server that listens everywhere and advertises nothing.
        """
        if not self.advertise:
            return Address(host_name, bound.port) if bound.everywhere else bound
        if HOST.fullmatch(self.advertise):
            return Address(self.advertise, bound.port)
        return Address.parse(self.advertise)

    def certified(self) -> Address:
        """Where clients with a certificate connect.

        Raises:
            InvalidInput: CONFIG_INVALID, there is no next port.
        """
        if self.listen_certified:
            return Address.parse(self.listen_certified)
        listen = Address.parse(self.listen)
        if listen.port == LAST_PORT:
            raise _invalid(CONFIG_FILE, f"there is no port after {listen}, so listen_certified cannot be empty")
        return Address(listen.host, listen.port + 1 if listen.port else 0)

    def origins(self) -> list[tuple[str, Any, bool]]:
        """Every setting as `name` or `table.name`, with its value, and whether it was given instead of the default."""
        return list(_origins(self, ""))

    def to_toml(self) -> str:
        """The file, with a comment for every key."""
        head = "# Settings of a genepool server, read when it starts. A line that is missing has its default.\n"
        return head + "".join(_lines(self))


def _origins(model: BaseModel, prefix: str) -> Iterator[tuple[str, Any, bool]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _origins(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, name in model.model_fields_set


def _lines(model: BaseModel) -> list[str]:
    lines = []
    for key, field in type(model).model_fields.items():
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            lines += [f"\n# {field.description}\n[{key}]\n", *_lines(value)]
        else:
            # a JSON string or number of these fields is a TOML one
            lines.append(f"\n# {field.description}\n{key} = {json.dumps(value, ensure_ascii=False)}\n")
    return lines


def certified_name(host: str) -> str:
    """The name of the server that clients with a certificate ask for at an entrance: below its own, where it has one.

    Args:
        host: that clients are told, a name or an IP address without brackets.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return f"sites.{host}".lower()
    return "sites.genepool.internal"  # an address has no name of its own, and nobody asks DNS for this one


def load(folder: Path) -> ServerConfig:
    """The settings of the pool in a folder.

    Raises:
        NotFound: POOL_UNKNOWN, the folder has none.
        InvalidInput: CONFIG_INVALID, naming key and rule.
    """
    path = folder / CONFIG_FILE
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(
            "POOL_UNKNOWN",
            f"there is no pool in {folder} (no {CONFIG_FILE})",
            "make one with genepool-server init DIR",
        ) from exc
    return parse(_toml(raw, path), str(path))


def _toml(raw: bytes, path: Path) -> dict[str, Any]:
    raw = strict_json.edited(raw)
    try:
        return tomllib.loads(raw.decode())
    except tomllib.TOMLDecodeError as exc:  # its text names line and column
        raise _invalid(str(path), f"it is not TOML: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise _invalid(str(path), f"it is not UTF-8 (at {strict_json.place(raw, exc.start)})") from exc


def parse(value: dict[str, Any], what: str) -> ServerConfig:
    """The settings in a parsed file.

    Raises:
        InvalidInput: CONFIG_INVALID, naming key and rule.
    """
    try:
        return ServerConfig.model_validate(value)
    except ValidationError as exc:
        raise _invalid(what, first_problem_of_settings(exc, ServerConfig)) from exc


def _invalid(what: str, why: str) -> InvalidInput:
    return InvalidInput("CONFIG_INVALID", f"the settings in {what} are wrong: {why}", "mend the line, or take it out")
