"""`genepool site run`: Flower's SuperNode with the site's own guard around it, outside the process that runs the app.

Flower gives the server the last word on which code runs and what is sent. Here the site has it: only app bundles that
its config names by digest are run, and only a receipt for a contribution of its own outbox leaves. What is private to
flwr is used here and in `egress` alone; with another version than the one that was read, it refuses to start.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from flwr.app import Error
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.supercore import log
from flwr.supercore.exit import ExitCode, flwr_exit
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_object_tree, no_object_id_recompute

from genepool_client.site.flower import ending, failures, logs, returning, supervision
from genepool_client.site.flower.egress import Egress
from genepool_client.site.flower.failures import SiteFailure
from genepool_client.site.folder import SiteFolder
from genepool_client.transport.proxies import is_local, proxy_for
from genepool_console.log_lines import Form
from genepool_console.metrics_page import MetricsPage
from genepool_protocol.machine import launching, neighbours
from genepool_protocol.machine.flower import check_version
from genepool_protocol.machine.service_manager import ServiceManager
from genepool_protocol.wire.errors import InvalidInput, VersionMismatch

NEEDS: Final = ("the egress guard", "site")
"""What reaches into Flower here, and the extra that brings one that fits; see `flower.check_version`."""

What = Literal["bundle", "reply"]
Outcome = Literal["accepted", "refused", "receipt", "error"]
Told = Callable[[What, Outcome], None]
"""Hears how the guard decided over an app bundle or a reply."""


@dataclass(frozen=True, slots=True)
class Link:
    """How to reach the campaign's SuperLink.

    Attributes:
        superlink: HOST:PORT.
        root_certificates: PEM file of its CA; None: without TLS, for a SuperLink on this machine.
        auth_key: OpenSSH ECDSA key that the node is registered with; None for none.
        port: where the node's own helpers find it, on loopback.
        over: asked while the SuperLink is away, whether its campaign is over; None: the node waits for ever.
    """

    superlink: str
    root_certificates: Path | None
    auth_key: Path | None
    port: int
    over: Callable[[], bool] | None = None


def run(site: SiteFolder, link: Link, metrics: str = "", form: Form = "auto") -> None:
    """Answer invitations until interrupted, or until the campaign is over.

    Args:
        site: who answers.
        link: to whom.
        metrics: [HOST:]PORT of its numbers for Prometheus; empty for none.
        form: of its log's lines.

    Raises:
        Unavailable: PORT_IN_USE, of the metrics.
        VersionMismatch: API_VERSION, this flwr was not verified.
        InvalidInput: CONFIG_INVALID, the site accepts no app bundle.
    """
    check_version(*NEEDS)
    if not site.config.fabs:
        raise InvalidInput(
            "CONFIG_INVALID",
            f"{site.path} accepts no app bundle",
            "ask the operator for the digest of the campaign's bundle and give it with --allow-fab",
        )
    command = importlib.import_module("flwr.supernode.cli.flower_supernode")
    told = _shown(site, metrics) if metrics else _nobody
    client = importlib.import_module("flwr.supernode.start_client_internal")
    install(Egress(site), client, command, told)
    returning.remember(client, site.path / "flower" / "node.json")
    manager = ServiceManager.from_environment()
    supervision.report(client, manager)
    neighbours.shut_out(importlib.import_module("flwr.supernode.main"))
    _close(site, link)
    logs.begin(form)
    sys.argv = ["flower-supernode", *arguments(site, link)]
    over = f"the SuperLink at {link.superlink} has gone: its campaign is over; run this again for the next one"
    if link.over and link.root_certificates:
        ending.watch(
            link.superlink, link.root_certificates, link.over, lambda: flwr_exit(ExitCode.SUCCESS, over), manager.alive
        )
    command.flower_supernode()
    flwr_exit(ExitCode.SUCCESS, over)  # it leaves a thread that would keep this process


def _nobody(_what: What, _outcome: Outcome) -> None:
    """Nobody counts."""


def _shown(site: SiteFolder, listen: str) -> Told:
    page = MetricsPage(listen)
    from genepool_client.site.flower.numbers import SiteMeter

    meter = SiteMeter(site)
    page.show(meter.registry)
    page.start()
    return meter.count


def _close(site: SiteFolder, link: Link) -> None:
    """What this process and Flower's helpers write stays private, and the helpers are those of this environment."""
    launching.no_core_dumps()
    os.umask(launching.UMASK)
    home = site.path / "flower"
    home.mkdir(mode=0o700, exist_ok=True)
    # Flower's helpers are programs of their own, with lines of another form: they speak when something is wrong
    proxy = proxy_for(link.superlink.rpartition(":")[0].strip("[]"))  # Flower reads the usual names alone
    proxied = {"https_proxy": proxy, "HTTPS_PROXY": proxy}
    environment = launching.environment({"FLWR_HOME": str(home), "FLWR_LOG_LEVEL": "WARNING"}, proxied)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    os.environ.clear()
    os.environ.update(environment)


def arguments(site: SiteFolder, link: Link) -> list[str]:
    """The command line of `flower-supernode`.

    Raises:
        InvalidInput: OPTION_INVALID, nothing vouches for a SuperLink on another machine.
    """
    if link.root_certificates is None and not is_local(link.superlink.rpartition(":")[0].strip("[]")):
        raise InvalidInput(
            "OPTION_INVALID",
            f"without --root-certificates the node would speak to {link.superlink} in the clear",
            "give the certificate of the SuperLink's CA; only a SuperLink on this machine goes without",
        )
    words = ["--superlink", link.superlink, "--host", "127.0.0.1", "--port", str(link.port)]
    words += ["--node-config", f"site-dir={json.dumps(str(site.path))}"]
    words += ["--root-certificates", str(link.root_certificates)] if link.root_certificates else ["--insecure"]
    return words + (["--auth-supernode-private-key", str(link.auth_key)] if link.auth_key else [])


def install(egress: Egress, client: ModuleType, command: ModuleType, told: Told = _nobody) -> None:
    """Put the guard in the way of every reply and every app bundle.

    Args:
        egress: decides.
        client: flwr's module that speaks with the SuperLink.
        command: flwr's module of the command.
        told: hears of each decision.

    Raises:
        VersionMismatch: API_VERSION, flwr lacks a part that the guard holds on to.
    """
    push, connect = _part(client, "_push_messages"), _part(client, "http_request_response")
    _part(client, "_verify_fab")

    def push_messages(state: Any, object_store: Any, send: Any, push_object: Any) -> None:
        push(state, object_store, _guarded_send(egress, object_store, send, push_object, told), push_object)

    @contextmanager
    def connection(*args: Any, **options: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*args, **options) as (node, receive, send, get_run, get_fab, *rest):
            yield (node, receive, send, get_run, _guarded_fab(egress, get_fab, told), *rest)

    client.__dict__.update(
        {
            "_push_messages": push_messages,
            "http_request_response": connection,
            # the verdict is in the bundle's verifications, which `_guarded_fab` writes; an empty one is refused earlier
            "_verify_fab": lambda fab, _trusted: bool(fab.verifications.get("valid_license")),
        }
    )
    for name in ("_try_obtain_trusted_entities", "_validate_public_keys_ed25519", "flower_supernode"):
        _part(command, name)
    command.__dict__.update(
        {
            "_try_obtain_trusted_entities": lambda _path: {"the site's own list": "-"},
            "_validate_public_keys_ed25519": lambda _trusted: None,
        }
    )


def _part(module: ModuleType, name: str) -> Any:
    part = getattr(module, name, None)
    if not callable(part):
        raise VersionMismatch("API_VERSION", f"{module.__name__} of flwr has no {name}", "install genepool[site]")
    return part


def _guarded_fab(egress: Egress, get_fab: Callable[[str, int], Fab], told: Told) -> Callable[[str, int], Fab]:
    def get(name: str, run_id: int) -> Fab:
        fab = get_fab(name, run_id)
        accepted = egress.accepts(fab.content)
        told("bundle", "accepted" if accepted else "refused")
        if not accepted:
            log(ERROR, "egress guard: the app bundle %s is not in the site's config", name)
        return Fab(fab.hash_str, fab.content, {"valid_license": "site"} if accepted else {})

    return get


def _guarded_send(
    egress: Egress, store: Any, send: Any, push_object: Any, told: Told
) -> Callable[..., tuple[set[str], str]]:
    """Flower's `send`: it announces a reply's objects before any is uploaded, so a refusal here hangs nobody."""

    def guarded(message: Any, tree: Any, runtime: float) -> tuple[set[str], str]:
        why: str | None
        if message.has_error():
            failure, why = failures.of_code(message.error.code), f"the app answered error {message.error.code}"
        else:
            failure, why = failures.GUARDED, egress.refusal(store.get, tree)
        told("reply", "receipt" if why is None else "error" if message.has_error() else "refused")
        if why is None:
            announced: tuple[set[str], str] = send(message, tree, runtime)
            return announced
        log(ERROR, "egress guard: a reply was replaced: %s", why)
        error = _constant_error(message.metadata, failure)
        with no_object_id_recompute():
            own_tree, content, own_id = get_object_tree(error), error.deflate(), error.metadata.message_id
        object_ids, session = send(error, own_tree, runtime)
        if own_id in object_ids:
            push_object(message.metadata.run_id, session, own_id, content)
        return set(), session  # nothing of the app's own reply is pushed

    return guarded


def _constant_error(old: Any, failure: SiteFailure) -> Any:
    same = (
        "run_id",
        "src_node_id",
        "dst_node_id",
        "reply_to_message_id",
        "group_id",
        "created_at",
        "ttl",
        "message_type",
    )
    values = {name: getattr(old, name) for name in (*same, "src_task_id", "dst_task_id")}
    error = make_message(Metadata(message_id="", **values), error=Error(code=failure.code, reason=failure.sentence))
    error.metadata.delivered_at = ""
    error.metadata.__dict__["_message_id"] = error.object_id
    return error
