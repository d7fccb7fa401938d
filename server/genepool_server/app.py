"""The composition root: makes a pool's folder, and puts pool, serving and front together while a server runs."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from genepool_protocol.learngene.blueprint import blueprint_folder
from genepool_protocol.machine.launching import overwrite_freed_memory
from genepool_protocol.machine.service_manager import ServiceManager
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.enrolment import channel_of
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import InvalidInput
from genepool_server import durable
from genepool_server.config import CONFIG_FILE, ServerConfig, certified_name, load, parse
from genepool_server.confined.checker import Checker
from genepool_server.confined.screener import Screener
from genepool_server.dashboard.listener import Dashboard
from genepool_server.front.operator_socket import OperatorSocket
from genepool_server.net import Address, check_free
from genepool_server.observing.watcher import Watcher
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.review_queue import ReviewPolicy, Reviews
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.storage import Storage
from genepool_server.pool.upkeep.fsck import FsckReport
from genepool_server.pool.upkeep.restore import BackupSource
from genepool_server.pool.upkeep.restore import restore as put_back
from genepool_server.root import settling
from genepool_server.root.freshness import Freshness
from genepool_server.root.repository import Repository
from genepool_server.tls import client_ca, identity

if TYPE_CHECKING:
    import grpc

    from genepool_server.front.entrance.listener import Plan
    from genepool_server.front.guards.calls import Call
    from genepool_server.front.guards.interceptor import CallLimits
    from genepool_server.front.server import Front
    from genepool_server.observing.collector import StateCollector
    from genepool_server.serving.config import ServingConfig
    from genepool_server.serving.dispatcher import Dispatcher
    from genepool_server.serving.service import Serving

_log = logging.getLogger(__name__)

ANCHORS_FILE: Final = "pool.json"
ADDRESS_FILE: Final = "address"

_THREADS: Final = 16
"""Calls of the pool that run at the same time; they wait for the disk."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        address: HOST:PORT for clients.
        certified: port of the same host for clients that show a certificate.
        pool: what it serves.
        serving: how it computes.
        metrics: HOST:PORT of the numbers for Prometheus; empty for none.
        dashboard: where a browser finds it; empty for none.
    """

    address: str
    certified: int
    pool: OpenPool
    serving: "Serving"
    metrics: str = ""
    dashboard: str = ""


# -- making a pool -----------------------------------------------------------------------------------------------------


def init(folder: Path, config: ServerConfig, blueprints: Sequence[str], seeds: Sequence[Path] = ()) -> Anchors:
    """Make a pool's folder: it is there as a whole or not at all.

    Args:
        folder: does not exist, or is empty.
        config: what `genepool.toml` will say.
        blueprints: names of bundled blueprints, or folders with blueprint.json and seed.safetensors.
        seeds: files of the seeds that lie in no blueprint's folder; they are known by their digests.

    Raises:
        InvalidInput: PATH_NOT_EMPTY, also of the database or the place of the weights; what `OpenPool.create` raises.
        Refused: SEED_MISMATCH.
        NotFound: BLUEPRINT_UNKNOWN.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    sources = [blueprint_folder(name) for name in blueprints]
    target = Path(os.path.abspath(folder))  # noqa: PTH100 - a link is kept as it is
    _check_empty(target)
    with durable.translated(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target if target.exists() else target.parent))
    try:
        OpenPool.create(building, config.name, sources, seeds, config.storage)
        try:
            anchors = _fill(building, config)
            with durable.translated(target):
                _publish(building, target)
        except BaseException:
            OpenPool.discard(building, config.storage)
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return anchors


def _check_empty(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise InvalidInput("PATH_NOT_EMPTY", f"{target} exists and is not an empty folder", "choose another folder")


def _fill(building: Path, config: ServerConfig) -> Anchors:
    ca_pem = identity.create_ca(building / "keys", identity.utc_now())
    client_ca.create(building / "keys", identity.utc_now())
    place = PoolFolder(building)
    trusted = Trusted(ca_pem=ca_pem, signers=place.signers(), witnesses=config.witnesses, quorum=config.quorum)
    root = settling.create(place, trusted, identity.utc_now())
    address = config.advertised(config.public, socket.gethostname())
    anchors = Anchors(address=str(address), ca_pem=ca_pem, root=root)
    durable.create_exclusive(building / ANCHORS_FILE, _encode(anchors), 0o644)
    durable.create_exclusive(building / CONFIG_FILE, config.to_toml().encode(), 0o644)
    return anchors


def _publish(building: Path, target: Path) -> None:
    if building.parent != target:
        building.rename(target)
        durable.sync(target)
        return
    # a folder that existed keeps its identity (it may be a mount point, or somebody's working folder); the settings
    # come last, and without them there is no pool
    for path in sorted(building.iterdir(), key=lambda path: path.name == CONFIG_FILE):
        durable.publish(path, target / path.name)


def _encode(anchors: Anchors) -> bytes:
    return anchors.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


def restore(source: BackupSource, target: Path, storage: Storage) -> FsckReport:
    """Make a pool's folder from a backup; its settings name the storage that is given.

    Raises:
        GenepoolError: see `pool.restore.restore`.
    """
    settings = load(source.backup).model_dump() | asdict(storage)
    changed = parse(settings, "the backup with the options").to_toml().encode()
    return put_back(source, target, storage, {CONFIG_FILE: changed})


# -- serving -----------------------------------------------------------------------------------------------------------


def serve(folder: Path, config: ServerConfig, ready: Callable[[Running], None]) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C; a second one ends the process at once.

    Args:
        folder: made by `init`.
        config: its settings.
        ready: called once, when the server answers.

    Raises:
        GenepoolError: see `run`.
    """
    asyncio.run(_until_signal(folder, config, ready))


async def _until_signal(folder: Path, config: ServerConfig, ready: Callable[[Running], None]) -> None:
    stop, loop, manager = asyncio.Event(), asyncio.get_running_loop(), ServiceManager.from_environment()

    def asked(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("%s again: ending at once", number.name)
            logging.shutdown()
            os._exit(130)  # Ray's processes see it and end, too
        _log.info("%s: going down; once more ends everything at once", number.name)
        manager.stopping()
        stop.set()

    def listen() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, asked, number)

    def began(running: Running) -> None:
        listen()  # again: Ray puts a handler of its own before ours that prints a stack
        ready(running)
        manager.ready(f"serving {running.pool.origin} at {running.address}")

    listen()
    beats = asyncio.create_task(manager.keep_alive())
    try:
        await run(folder, config, began, stop)
    finally:
        beats.cancel()


async def run(folder: Path, config: ServerConfig, ready: Callable[[Running], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain: calls that run get `config.drain_seconds`.

    Raises:
        Unavailable: PORT_IN_USE, FOLDER_IN_USE, STORE_UNAVAILABLE, SERVING_UNAVAILABLE.
        InvalidInput: OPTION_INVALID (listen), CONFIG_INVALID.
        NotFound: POOL_UNKNOWN, FILE_MISSING.
        StorageError: what `OpenPool.open` finds; DISK_FULL or DISK_FAILED.
    """
    overwrite_freed_memory()  # consumers' images pass through buffers of TLS, gRPC and protobuf
    listen, loop = Address.parse(config.listen), asyncio.get_running_loop()
    for place in (listen, config.certified(), *_entrance_place(config)):
        check_free(place)
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="genepool-pool"))
    async with contextlib.AsyncExitStack() as undo:
        watcher = Watcher(config.metrics.listen)
        undo.callback(watcher.close)
        dashboard = Dashboard(config.dashboard.listen, config.dashboard.url)
        undo.callback(dashboard.close)
        checker, quotas = Checker(), config.quotas.quotas()
        undo.callback(checker.close)
        checker.worker.start()
        trusted = await asyncio.to_thread(settling.settle, PoolFolder(folder))
        opened = partial(OpenPool.open, automatic=config.reviews.at_once, witnesses=trusted.policy, quotas=quotas)
        opened = partial(opened, inspect=checker)
        pool = await asyncio.to_thread(opened, folder, config.storage)
        undo.callback(pool.close)
        _check_name(pool, config)
        _compare(trusted, config)
        # a thread that writes for a call that is over must be through before the pool closes
        undo.push_async_callback(loop.shutdown_default_executor)
        freshness = await Freshness.start(PoolFolder(folder))
        undo.push_async_callback(freshness.stop)
        from genepool_server.serving.service import Serving  # with torch behind it: what fails before need not wait

        front = _front(folder, config, pool, _both(watcher.called, dashboard.called))
        undo.push_async_callback(front.stop, 0)
        address = str(config.advertised(front.public, socket.gethostname()))
        if front.public.everywhere and not config.advertise:
            _log.warning("clients are told %s; if they cannot reach that, set advertise in %s", address, CONFIG_FILE)
        _tell_clients(PoolFolder(folder), trusted, address)
        parent = Path(config.serving.temp_dir or tempfile.gettempdir())
        door = OperatorSocket(folder, parent, pool, config.serving.stall_seconds, watcher.called, dashboard.link)
        undo.push_async_callback(door.stop)
        await door.start()
        _log.info("%d learngenes are on this machine", await asyncio.to_thread(pool.upkeep.gather))
        serving = await asyncio.to_thread(Serving.start, config.serving.config(), pool, start_workers)
        undo.push_async_callback(asyncio.to_thread, serving.close)
        undo.push_async_callback(front.stop, config.drain_seconds)
        if stop.is_set():
            return
        undo.push_async_callback(asyncio.to_thread, _review(pool, config.reviews, watcher))
        await front.start(pool, serving)
        collect = partial(_collector, front, serving, pool, folder)
        watcher.show(collect)
        dashboard.show(pool, collect)
        for page in (watcher, dashboard):
            undo.push_async_callback(asyncio.to_thread, page.close)  # before what it reads
        undo.callback((folder / ADDRESS_FILE).unlink, missing_ok=True)
        durable.write(folder / ADDRESS_FILE, f"{address}\n".encode(), 0o644)
        _log.info("serving %s at %s", pool.origin, address)
        ready(Running(address, front.certified.port, pool, serving, watcher.address, dashboard.url))
        await stop.wait()


def start_workers(config: "ServingConfig") -> "Dispatcher":
    """Ray and its workers, or threads of this process when `config.workers` is 0; blocks until they answer.

    Raises:
        Unavailable: SERVING_UNAVAILABLE, Ray or a worker did not start.
        InvalidInput: CONFIG_INVALID, the temporary folder's path is too long.
    """
    if config.workers == 0:
        from genepool_server.serving.dispatcher import InlineDispatcher

        return InlineDispatcher(config)
    from genepool_server.serving.ray.supervised import SupervisedRay

    workers = SupervisedRay(config)
    try:
        workers.wait()
    except BaseException:
        workers.drain()
        raise
    return workers


def _both(first: "Callable[[Call], None]", second: "Callable[[Call], None]") -> "Callable[[Call], None]":
    def ended(call: "Call") -> None:
        first(call)
        second(call)

    return ended


def _review(pool: OpenPool, policy: ReviewPolicy, watcher: Watcher) -> Callable[[], None]:
    """Begin to review what is quarantined; answers how to end that."""
    if policy.at_once or policy == ReviewPolicy(automatic=False, screening="off"):
        return lambda: None  # there is nothing to say before the operator does
    screener = Screener()
    reviews = Reviews(pool, policy, screener, watcher.reviewed)
    reviews.start()

    def end() -> None:
        reviews.ending()
        screener.close()
        reviews.stop()

    return end


def _collector(front: "Front", serving: "Serving", pool: OpenPool, folder: Path) -> "StateCollector":
    """What stands, for Prometheus; made on the event loop."""
    from genepool_server.observing import collector

    return collector.StateCollector(
        partial(collector.read_front, front, serving),
        lambda: collector.read_pool(pool, PoolFolder(folder), identity.utc_now()),
        asyncio.get_running_loop(),
    )


def _check_name(pool: OpenPool, config: ServerConfig) -> None:
    if pool.origin != config.name:
        raise InvalidInput(
            "CONFIG_INVALID",
            f"name in {CONFIG_FILE} is {config.name!r}, but the pool was made as {pool.origin!r}",
            "clients pin the name: put it back",
        )


def _compare(trusted: Trusted, config: ServerConfig) -> None:
    if (trusted.witnesses, trusted.quorum) != (config.witnesses, config.quorum):
        _log.warning(
            "clients are told other witnesses than %s names, and those count: genepool-server root publish tells them",
            CONFIG_FILE,
        )


def _front(folder: Path, config: ServerConfig, pool: OpenPool, ended: "Callable[[Call], None]") -> "Front":
    from genepool_server.front.guards.callers import NetworkCallers
    from genepool_server.front.guards.rates import Rates
    from genepool_server.front.guards.strangers import Strangers
    from genepool_server.front.server import Doors, Front, Guard, Load

    keys, listen, certified = folder / "keys", Address.parse(config.listen), config.certified()
    entrance = _plan(config)
    hosts = _hosts(config, listen, certified, *_entrance_place(config))
    hosts += [entrance.certified_name] if entrance else []

    def current() -> identity.Identity:
        return identity.current(keys, hosts, identity.utc_now())

    def tls(client: bytes | None) -> "grpc.ServerCredentials":
        return identity.server_credentials(current, identity.utc_now, client)

    return Front(
        Doors((listen, partial(tls, None)), (certified, partial(tls, client_ca.read(keys))), entrance),
        Guard(
            NetworkCallers(pool.sites.holder, pool.origin, config.anonymous_consumers, identity.utc_now),
            Rates(config.quotas.calls_per_minute),
            Strangers(config.quotas.anonymous_descents_per_minute),
            client_ca.Issuer(keys, pool.origin, timedelta(days=config.certificate_days)).issue,
            channel_of(identity.read_ca(keys)),
            Repository(PoolFolder(folder).trust),
            config.advertise_certified_port,
        ),
        Load(config.concurrent_calls, config.quotas.open_calls, _patience(config)),
        ended,
    )


def _entrance_place(config: ServerConfig) -> list[Address]:
    return [config.public] if config.entrance.listen else []


def _plan(config: ServerConfig) -> "Plan | None":
    from genepool_server.front.entrance.listener import Plan, Room

    settings = config.entrance
    if not settings.listen:
        return None
    networks = tuple(ipaddress.ip_network(text) for text in settings.proxies)
    told = config.advertised(config.public, socket.gethostname())
    room = Room(settings.connections, settings.connections_each, config.serving.first_seconds, networks)
    return Plan(config.public, certified_name(told.bare_host), Address.parse(settings.gate), room)


def _patience(config: ServerConfig) -> "CallLimits":
    from genepool_server.front.guards.interceptor import CallLimits

    serving = config.serving
    return CallLimits(serving.stall_seconds, serving.first_seconds, others=serving.watch_seconds)


def _hosts(config: ServerConfig, *listened: Address) -> list[str]:
    """Names that clients may know the server by, besides those of loopback."""
    clients = config.advertised(config.public, socket.gethostname())
    own = [address.bare_host for address in listened if not address.everywhere]
    return list(dict.fromkeys([*own, clients.bare_host, *config.hosts]))


def _tell_clients(place: PoolFolder, trusted: Trusted, address: str) -> None:
    anchors = _encode(Anchors(address=address, ca_pem=trusted.ca_pem, root=Repository(place.trust).first()))
    path = place.root / ANCHORS_FILE
    if not path.exists() or path.read_bytes() != anchors:
        durable.write(path, anchors, 0o644)
