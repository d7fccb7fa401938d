"""init, serve, health and fsck: the pool as a whole."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genepool_console import terminal
from genepool_server.commands.options import FolderArgument

if TYPE_CHECKING:
    from genepool_server.net import Address


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (init, serve, health, fsck):
        app.command()(command)


def init(
    folder: FolderArgument,
    *,
    blueprint: Annotated[
        list[str] | None,
        typer.Option(help="A bundled blueprint, or a folder with one; may be repeated.", metavar="NAME"),
    ] = None,
    seed: Annotated[
        list[Path] | None,
        typer.Option(help="The seed of a blueprint that comes without it; may be repeated.", metavar="FILE"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the pool and its log; clients pin it.")] = None,
    listen: Annotated[str | None, typer.Option(help="Where it will listen.", metavar="HOST:PORT")] = None,
    entrance: Annotated[
        str | None, typer.Option(help="One port from which everything is reached.", metavar="HOST:PORT")
    ] = None,
    gate: Annotated[
        str | None, typer.Option(help="Where a campaign's gate listens behind the entrance.", metavar="HOST:PORT")
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="A proxy before the entrance that says for whom it comes; may be repeated.", metavar="IP"),
    ] = None,
    advertise: Annotated[str | None, typer.Option(help="What clients connect to.", metavar="HOST[:PORT]")] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="One more name or IP address of the server; may be repeated.", metavar="HOST"),
    ] = None,
    anonymous: Annotated[
        str | None, typer.Option(help="Who consumes without a certificate: nobody, local or everybody.")
    ] = None,
    admission: Annotated[str | None, typer.Option(help="Who admits: automatic or manual.")] = None,
    ledger: Annotated[
        str | None, typer.Option(help="A PostgreSQL database for the ledger.", metavar="postgresql://...")
    ] = None,
    blobs: Annotated[str | None, typer.Option(help="A place on S3 for the weights.", metavar="s3://...")] = None,
    screening: Annotated[str | None, typer.Option(help="Screens and canary: enforce, warn or off.")] = None,
    workers: Annotated[int | None, typer.Option(help="Ray workers; 0: threads of the server.")] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Make a pool in a new or empty folder: keys, ledger, blobs, seed and settings."""
    from genepool_server import app, config
    from genepool_server.pool.store.folder import PoolFolder

    given: dict[str, Any] = {"name": name, "listen": listen, "advertise": advertise, "admission": admission}
    given |= {"anonymous_consumers": anonymous, "screening": screening, "ledger": ledger, "blobs": blobs}
    values = {key: value for key, value in given.items() if value is not None}
    if workers is not None:
        values["serving"] = {"workers": workers}
    if host:
        values["hosts"] = host
    doors = {"listen": entrance, "gate": gate, "proxies": proxy}
    if any(value is not None for value in doors.values()):
        values["entrance"] = {key: value for key, value in doors.items() if value is not None}
    settings = config.parse(values, "the options")
    app.init(folder, settings, blueprint or ["nano-32"], seed or [])
    summary = {
        "folder": str(folder),
        "anchors": str(folder / app.ANCHORS_FILE),
        "settings": str(folder / config.CONFIG_FILE),
        "name": settings.name,
        "offline_keys": str(PoolFolder(folder).offline),
        "blueprints": ", ".join(sorted(path.name for path in PoolFolder(folder).blueprints.iterdir())),
    }
    terminal.answer(summary, as_json=as_json)
    terminal.say(
        f"take {summary['offline_keys']} to a medium that you keep apart: whoever has it can replace every key of the "
        "pool; genepool-server root wants it back"
    )


def serve(
    folder: FolderArgument,
    *,
    listen: Annotated[
        str | None, typer.Option(help="Where to listen instead of what the settings say.", metavar="HOST:PORT")
    ] = None,
    listen_certified: Annotated[
        str | None, typer.Option(help="Where clients with a certificate connect; by default the next port.")
    ] = None,
    entrance: Annotated[
        str | None, typer.Option(help="One port from which everything is reached.", metavar="HOST:PORT")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Ray workers, instead of what the settings say.")] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Numbers for Prometheus there; no host: this machine.", metavar="[HOST:]PORT"),
    ] = None,
    dashboard: Annotated[
        str | None,
        typer.Option(help="Pages for a browser there; no host: this machine.", metavar="[HOST:]PORT"),
    ] = None,
    logs: Annotated[str | None, typer.Option(help="How log lines look: auto, text or json.", metavar="FORM")] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Serve the pool until Ctrl-C or SIGTERM; prints one line when it is ready."""
    from genepool_server import app, config

    given = {"listen": listen, "listen_certified": listen_certified, "serving.workers": workers}
    given |= {"entrance.listen": entrance, "metrics.listen": metrics, "dashboard.listen": dashboard, "logs.form": logs}
    settings = config.parse(_changed(config.load(folder).model_dump(), given), "the options")
    terminal.log_to_stderr(settings.logs.form)

    def ready(running: app.Running) -> None:
        names = ", ".join(loaded.blueprint.name for loaded in running.pool.blueprints())
        value = {
            "address": running.address,
            "certified_port": running.certified,
            "name": running.pool.origin,
            "blueprints": names,
            **({"metrics": running.metrics} if running.metrics else {}),
            **({"dashboard": running.dashboard} if running.dashboard else {}),
        }
        terminal.announce(value, as_json=as_json, text=f"serving {running.address} {running.pool.origin} ({names})")

    app.serve(folder, settings, ready)


def _changed(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The settings with the options that were given, by `name` or `table.name`."""
    for path, value in given.items():
        table, _, name = path.rpartition(".")
        if value is not None:
            (settings[table] if table else settings)[name] = value
    return settings


def health(
    folder: FolderArgument,
    *,
    address: Annotated[
        str, typer.Option(help="Where it listens; by default what the settings say.", metavar="HOST:PORT")
    ] = "",
    seconds: Annotated[float, typer.Option(help="How long it may take to answer.", min=0.1, max=600)] = 5.0,
    as_json: terminal.JsonOption = False,
) -> None:
    """Ask the server of this folder, on this machine, whether it serves: exit code 0, or 5 when it does not."""
    from genepool_protocol.trust.anchors import read_anchors
    from genepool_server import app, config
    from genepool_server.net import Address

    settings = config.load(folder)
    listen = Address.parse(address or settings.listen)
    if not listen.port and settings.entrance.listen:
        listen = Address.parse(settings.entrance.listen)
    if not listen.port:
        written = (folder / app.ADDRESS_FILE).read_text().strip() if (folder / app.ADDRESS_FILE).exists() else ""
        listen = Address(listen.host, Address.parse(written).port) if written else listen
    asked = Address("127.0.0.1", listen.port) if listen.everywhere else listen
    _check_serving(asked, read_anchors(folder / app.ANCHORS_FILE).ca_pem, seconds)
    terminal.answer({"address": str(asked), "serving": True}, as_json=as_json, text=f"serving at {asked}")


def _check_serving(address: "Address", ca_pem: str, seconds: float) -> None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from genepool_protocol.wire.errors import Unavailable

    credentials = grpc.ssl_channel_credentials(ca_pem.encode())
    with grpc.secure_channel(str(address), credentials) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.RpcError as exc:
            why = f"nobody answers at {address} ({exc.code().name})"
            raise Unavailable("POOL_UNREACHABLE", why, "look at the server's log; it may still start") from exc
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unavailable("POOL_UNREACHABLE", f"the server at {address} does not serve", "it goes down: wait")


def fsck(
    folder: FolderArgument,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="First write again what follows from the ledger: the log's tiles.")
    ] = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """Recompute everything in the pool from its bytes; works beside a running server and changes nothing by itself."""
    from genepool_protocol.wire.errors import StorageError
    from genepool_server import config
    from genepool_server.commands.operating import opened
    from genepool_server.pool.store.folder import PoolFolder
    from genepool_server.pool.upkeep import campaign_records
    from genepool_server.pool.upkeep.fsck import examine
    from genepool_server.root.settling import problems

    storage = config.load(folder).storage
    if repair:
        with opened(folder) as pool:
            pool.log.repair()
    report = examine(folder, storage)
    report.problems.extend(problems(PoolFolder(folder)))
    report.problems.extend(campaign_records.problems(PoolFolder(folder), storage))
    lines = [f"{problem.where}: {problem.reason}: {problem.message}" for problem in report.problems]
    lines += [f"note: {note}" for note in report.notes]
    lines.append(
        f"{len(report.problems)} problems, {report.contributions} contributions, {report.log_size} log entries"
    )
    terminal.answer(asdict(report), as_json=as_json, text=lines)
    if report.problems:
        raise typer.Exit(StorageError.exit_code)
