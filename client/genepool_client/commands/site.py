"""`genepool site ...`: what a site's people type. Every command can be repeated; finished work is not done again."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genepool_client.commands.options import GroupsOption, IntensityOption
from genepool_client.site.folder import SiteFolder
from genepool_console import log_lines, terminal
from genepool_console.terminal import JsonOption

if TYPE_CHECKING:
    from genepool_client.pictures.images import ImageSet
    from genepool_client.site.contribution import Contributed
    from genepool_client.site.flower.joining import CampaignOffer
    from genepool_client.site.materials import Materials, Settings
    from genepool_client.site.steps import Trained
    from genepool_client.site.submission import Submitted

_SHOWN = 20
"""Digests of descendants that the terminal lists."""

app = typer.Typer(context_settings=terminal.CONTEXT, no_args_is_help=True, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The site's folder.")]
DataOption = Annotated[
    str, typer.Option("--data", metavar="PATH", help="Folder of class folders, or a timm data set (torch/cifar10).")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
StepsOption = Annotated[
    int, typer.Option("--steps", min=0, help="Training steps of the ancestry model; 0: by the number of images.")
]
PassphraseOption = Annotated[
    bool,
    typer.Option(
        "--passphrase", help="Ask for a passphrase for the new signing key; GENEPOOL_PASSPHRASE answers, too."
    ),
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Start again instead of going on with what is there.")]


@app.command()
def init(
    folder: Folder,
    *,
    invite: Annotated[Path, typer.Option("--invite", metavar="FILE", help="The operator's invitation.")],
    pool: Annotated[
        str, typer.Option("--pool", metavar="FILE|ADDR", help="pool.json or HOST:PORT; by default the invitation's.")
    ] = "",
    data: DataOption = "",
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    data_dir: Annotated[str, typer.Option("--data-dir", metavar="PATH", help="Where a named data set lies.")] = "",
    license_: Annotated[
        str, typer.Option("--license", metavar="SPDX", help="Terms of the contributions.")
    ] = "CC-BY-4.0",
    blueprint: Annotated[str, typer.Option("--blueprint", help="Name; by default the pool's only one.")] = "",
    steps: StepsOption = 0,
    passphrase: PassphraseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a site folder with fresh keys. Nothing is written when anything is wrong."""
    from genepool_client.site import enrolment
    from genepool_client.site.keyring import new_passphrase
    from genepool_client.training.privacy import TWO_FOLDERS

    secret = new_passphrase(wanted=passphrase)
    setup = enrolment.Setup(invite, pool, data, data_dir, license_, blueprint, steps, secret, groups, intensity)
    site = enrolment.init(folder, setup)
    value = {
        "site": site.config.name,
        "folder": str(site.path),
        "pool": site.config.anchors.address,
        "blueprint": site.config.blueprint,
        "license": site.config.license,
        "keyid": site.keys.public.keyid,
    }
    text = [
        f"site {site.config.name} of the pool at {site.config.anchors.address} is set up in {folder}",
        f"contributions will be licensed {site.config.license}",
        TWO_FOLDERS,
        f"next: genepool site enrol {folder}",
    ]
    terminal.answer(value, as_json=as_json, text=text)


@app.command()
def enrol(
    folder: Folder,
    *,
    invite: Annotated[Path | None, typer.Option("--invite", metavar="FILE", help="A newer invitation.")] = None,
    passphrase: PassphraseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Register the site's keys, or show their state and fetch the certificate. The operator approves by fingerprint."""
    site = SiteFolder(folder)
    from genepool_client.site import enrolment
    from genepool_client.site.keyring import new_passphrase
    from genepool_client.transport.channel import Connection
    from genepool_protocol.trust.enrolment import grouped

    with site.locked(), Connection(site.config.anchors, trust=site.trust) as connection:
        connection.capabilities()
        if invite is not None:
            enrolment.replace_invite(site, invite, new_passphrase(wanted=passphrase))
        enrolled = enrolment.enrol(site, connection)
    value = {
        "site": enrolled.site,
        "state": enrolled.state,
        "keyid": enrolled.keyid,
        "fingerprint": grouped(enrolled.fingerprint),
    }
    text = [f"site {enrolled.site} is {enrolled.state}", f"fingerprint of its keys: {value['fingerprint']}"]
    if enrolled.state == "PENDING":
        text.append(f"read the fingerprint to the operator, who then runs: genepool-server approve {enrolled.site}")
    terminal.answer(value, as_json=as_json, text=text)


@app.command()
def rotate(
    folder: Folder,
    *,
    key: Annotated[str, typer.Option("--key", help="Which one to replace: tls or signing.")],
    passphrase: PassphraseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Replace one of the site's keys by a fresh one, under the old one; repeat it after any interruption."""
    from genepool_client.site import credentials
    from genepool_client.site.keyring import new_passphrase
    from genepool_protocol.wire.errors import InvalidInput

    site = SiteFolder(folder)
    if key not in ("tls", "signing"):
        raise InvalidInput("OPTION_INVALID", f"there is no key {key[:20]!r}", "choose --key tls or --key signing")
    with site.locked():
        if key == "tls":
            with credentials.connect(site):  # fetches the first certificate, if that is still to do
                ends = f"{credentials.renew(site, site.keys.tls()).ends:%Y-%m-%dT%H:%M:%SZ}"
            value = {"site": site.config.name, "key": key, "certificate_ends": ends}
        else:
            ends = credentials.rotate_signing(site, new_passphrase(wanted=passphrase))
            value = {"site": site.config.name, "key": key, "keyid": site.keys.public.keyid, "old_ends": ends}
    terminal.answer(value, as_json=as_json)


@app.command()
def fetch(folder: Folder, *, as_json: JsonOption = False) -> None:
    """Fetch the blueprint and its seed into the cache: from then on, train and condense need no network."""
    site = SiteFolder(folder)
    from genepool_client.site.materials import SiteBlueprint
    from genepool_client.transport.user_folders import default_cache

    source = SiteBlueprint(site)
    value = {
        "blueprint": source.blueprint.name,
        "seed_bytes": source.seed.path.stat().st_size,
        "cache": str(default_cache()),
    }
    text = f"blueprint {value['blueprint']} and its seed of {value['seed_bytes']:,} bytes are in {value['cache']}"
    terminal.answer(value, as_json=as_json, text=text)


@app.command()
def train(
    folder: Folder,
    *,
    data: DataOption = "",
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    steps: StepsOption = 0,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the ancestry model on the site's images. It never leaves the folder."""
    site = SiteFolder(folder)
    from genepool_client.site import steps as stages

    with site.locked():
        settings = _settings(site, data, steps, device, groups=groups, intensity=intensity)
        if fresh:
            stages.forget(site)
        materials = _materials(site, settings)
        with terminal.progress("training") as report:
            trained = stages.train(materials, report)
    text = [
        f"ancestry model: {trained.steps} steps on {trained.images} images of {trained.classes} classes",
        f"right on {_measured(trained)}",
        *_of_one_source(trained, materials.images),
        *materials.images.notes,
        f"next: genepool site condense {folder}",
    ]
    terminal.answer(trained.model_dump(by_alias=True), as_json=as_json, text=text)


@app.command()
def condense(
    folder: Folder,
    *,
    data: DataOption = "",
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Condense the ancestry model into a learngene, with a noised domain embedding of the site's data."""
    site = SiteFolder(folder)
    from genepool_client.site import steps as stages

    with site.locked():
        settings = _settings(site, data, 0, device, groups=groups, intensity=intensity)
        if fresh:
            stages.forget(site, "condense")
        materials = _materials(site, settings)
        with terminal.progress("condensing") as report:
            condensed = stages.condense_learngene(materials, report)
        told = stages.told(site, condensed)
    agreement = _share(condensed.agreement)
    text = [
        f"learngene: {condensed.steps} steps, answers as the ancestry model on {agreement} of the images",
        *(told.lines() if told else []),
        f"next: genepool site submit {folder}",
    ]
    value = {**condensed.model_dump(by_alias=True), "key": asdict(told) if told else None}
    terminal.answer(value, as_json=as_json, text=text)


@app.command()
def submit(folder: Folder, *, as_json: JsonOption = False) -> None:
    """Sign the learngene and hand it to the pool; repeat it after any interruption."""
    site = SiteFolder(folder)
    from genepool_client.site import credentials, submission
    from genepool_client.site.materials import SiteBlueprint

    site.signing_key()  # asks for its passphrase, if it has one, before anything is drawn
    with site.locked(), credentials.connect(site) as connection, terminal.progress("submitting") as report:
        submitted = submission.submit(SiteBlueprint(site), connection, report)
    terminal.answer(_submitted(submitted), as_json=as_json, text=_receipt_text(submitted))


@app.command()
def withdraw(
    folder: Folder,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Id of the contribution, or its first characters.")],
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the log shows it to everybody.")] = "",
    yes: terminal.YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a contribution back, for ever: no longer selected from now on, and erased from the pool's store.

    The pool keeps a sealed sketch of it, by which it knows a copy that another site brings.
    """
    site = SiteFolder(folder)
    from genepool_client.site import credentials, withdrawing
    from genepool_protocol.wire.text import require

    require(reason, "the reason")
    terminal.agree(f"withdraw {identifier} for ever?", yes=yes)
    with site.locked(), credentials.connect_anyhow(site) as connection:
        withdrawn = withdrawing.withdraw(site, connection, identifier, reason)
    value = {
        "contribution_id": withdrawn.contribution_id,
        "log_index": withdrawn.log_index,
        "erased": withdrawn.erased,
        "descendants": list(withdrawn.descendants),
        "unlisted_descendants": withdrawn.unlisted,
    }
    erased = "the pool has erased the weights" if withdrawn.erased else "the pool has not erased the weights yet"
    text = [
        f"contribution {withdrawn.contribution_id} is withdrawn",
        f"receipt verified: entry {withdrawn.log_index} of the pool's log; {erased}",
        "the pool keeps a sketch of them, 2,048 numbers under a secret of its own, to know a copy that comes back",
    ]
    if withdrawn.descendants:
        text += [
            f"{len(withdrawn.descendants)} descendants were handed over before; nobody can recall them",
            "the pool answers for each that it is withdrawn:",
            *(f"  {sha256}" for sha256 in withdrawn.descendants[:_SHOWN]),
        ]
        text += ["  and more, see --json"] if len(withdrawn.descendants) > _SHOWN else []
    if withdrawn.unlisted:
        text += [f"{withdrawn.unlisted} times more, others were handed over, which the pool did not list"]
    terminal.answer(value, as_json=as_json, text=text)


@app.command()
def contribute(
    folder: Folder,
    *,
    data: DataOption = "",
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    steps: StepsOption = 0,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
    offline: Annotated[bool, typer.Option("--offline", help="Train without asking the pool for leave first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train, condense, sign and submit; goes on where it was interrupted."""
    site = SiteFolder(folder)
    from genepool_client.site import contribution
    from genepool_client.site import steps as stages

    with site.locked():
        settings = _settings(site, data, steps, device, groups=groups, intensity=intensity)
        if fresh:
            stages.forget(site)
        contributed = contribution.contribute(site, settings, terminal.progress, offline=offline)
        told = stages.told(site, contributed.condensed)
    value = {**_contributed(contributed), "key": asdict(told) if told else None}
    text = [*_summary(contributed), *contributed.notes, *(told.lines() if told else [])]
    terminal.answer(value, as_json=as_json, text=text)


@app.command()
def status(folder: Folder, *, as_json: JsonOption = False) -> None:
    """What the site has done, what the pool says of it and why; works without the pool, too."""
    from genepool_client.site import overview

    value = overview.overview(SiteFolder(folder))
    rows = terminal.table(value["contributions"], ["seq", "contribution_id", "state", "license", "size_bytes"])
    head = {name: item for name, item in value.items() if name != "contributions"}
    if as_json:
        terminal.answer(value, as_json=True)
        return
    terminal.answer(head, as_json=False)
    if value["contributions"]:
        terminal.answer(value, as_json=False, text=rows)
        for row in value["contributions"]:
            if row["note"]:
                terminal.answer(row, as_json=False, text=f"{row['seq']} is {row['state']}: {row['note']}")


@app.command()
def run(
    folder: Folder,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the campaign's app bundle without a question.")] = False,
    superlink: Annotated[
        str, typer.Option("--superlink", metavar="HOST:PORT", help="A SuperLink that is not the pool's own campaign's.")
    ] = "",
    root_certificates: Annotated[
        Path | None, typer.Option("--root-certificates", metavar="FILE", help="CA of that SuperLink; else no TLS.")
    ] = None,
    auth_key: Annotated[
        Path | None,
        typer.Option("--auth-key", metavar="FILE", help="OpenSSH ECDSA key that the node registered there."),
    ] = None,
    allow_fab: Annotated[
        str, typer.Option("--allow-fab", metavar="sha256:HEX", help="An app bundle to accept from now on.")
    ] = "",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="For the node's own helpers; 0: a free one.")
    ] = 0,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="[HOST:]PORT", help="Numbers for Prometheus; no host: this machine.")
    ] = "",
    logs: Annotated[
        str, typer.Option("--logs", metavar="FORM", help="How log lines look: auto, text or json.")
    ] = "auto",
) -> None:
    """Answer a campaign's invitations: Flower's SuperNode with the site's egress guard around it, until interrupted.

    The pool says where the campaign is and which app bundle it runs; you confirm the bundle once.
    """
    site = SiteFolder(folder)
    from genepool_client.site.flower import joining, supernode
    from genepool_protocol.machine.flower import check_version
    from genepool_protocol.machine.processes import free_port

    if allow_fab and allow_fab not in site.config.fabs:
        site.change(fabs=[*site.config.fabs, allow_fab])
    check_version(*supernode.NEEDS)
    own = port or free_port()
    if superlink:
        link = supernode.Link(superlink, root_certificates, auth_key, own)
    else:
        link = joining.join(site, lambda offer: yes or _agreed(offer), own)
    supernode.run(site, link, metrics, log_lines.form_of(logs))


def _agreed(offer: "CampaignOffer") -> bool:
    for line in offer.lines():
        terminal.say(line)
    return terminal.confirmed("run this app bundle, now and in later campaigns?", "compare the digest, then give --yes")


def _settings(site: SiteFolder, data: str, steps: int, device: str, *, groups: bool, intensity: str) -> "Settings":
    """The options, of which all but the device are remembered: the next step has to use the same ones."""
    from genepool_client.site import enrolment
    from genepool_client.site.materials import Settings
    from genepool_client.training.device import resolve_device

    resolve_device(device)
    if data:
        site.change(data=enrolment.absolute(data), groups=groups, intensity=intensity)
    elif groups or intensity:
        site.change(groups=groups or site.config.groups, intensity=intensity or site.config.intensity)
    if steps:
        site.change(steps=steps)
    return Settings(device=device)


def _materials(site: SiteFolder, settings: "Settings") -> "Materials":
    from genepool_client.site.materials import Materials, SiteBlueprint

    with terminal.progress("reading images") as report:
        return Materials.read(SiteBlueprint(site), settings, report)


def _submitted(done: "Submitted") -> dict[str, Any]:
    return {
        "contribution_id": done.contribution_id,
        "seq": done.seq,
        "state": done.state,
        "sha256": done.sha256,
        "size_bytes": done.size_bytes,
        "log_index": done.log_index,
    }


def _contributed(done: "Contributed") -> dict[str, Any]:
    return {
        **_submitted(done.submitted),
        "images": done.trained.images,
        "classes": done.trained.classes,
        "accuracy": done.trained.accuracy,
        "accuracy_interval": done.trained.measured.interval if done.trained.measured else None,
        "held_out": done.trained.held_out,
        "agreement": done.condensed.agreement,
        "ancestry_bytes": done.trained.size_bytes,
        "notes": list(done.notes),
    }


def _receipt_text(done: "Submitted") -> list[str]:
    later = "; genepool site status says what becomes of it" if done.state == "QUARANTINED" else ""
    return [
        f"contribution {done.contribution_id} is {done.state}{later}",
        f"receipt verified: entry {done.log_index} of the pool's log, {done.size_bytes:,} bytes left this site",
    ]


def _summary(done: "Contributed") -> list[str]:
    ratio = done.trained.size_bytes / done.submitted.size_bytes
    first = (
        f"{done.trained.images} images of {done.trained.classes} classes; "
        f"ancestry model right on {_measured(done.trained)}, "
        f"learngene agrees with it on {_share(done.condensed.agreement)} and is {ratio:.1f} times smaller"
    )
    return [first, *_receipt_text(done.submitted)]


def _measured(trained: "Trained") -> str:
    """The ancestry model's accuracy; without enough images it would be a number that means nothing."""
    if trained.measured is None:
        return f"a share that {trained.held_out} held-out images cannot tell"
    return f"{trained.measured} of {trained.held_out} held-out images"


def _of_one_source(trained: "Trained", images: "ImageSet") -> list[str]:
    """What may flatter the accuracy."""
    if trained.measured is None or images.groups is not None:
        return []
    return ["several images of one patient or slide flatter that: put these in folders of their own, and say --groups"]


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}"
