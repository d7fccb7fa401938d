"""`genepool select | descend | verify | finetune`: options in, tables and sentences out; the work is done elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genepool_client.commands.options import GroupsOption, IntensityOption
from genepool_console import terminal
from genepool_protocol.machine import variables
from genepool_protocol.wire.errors import InvalidInput

if TYPE_CHECKING:
    from genepool_client.consumer.descendant.verify import Descendant
    from genepool_client.consumer.pool import Pool
    from genepool_client.consumer.select.selection import Mode
    from genepool_protocol.trust.anchors import Anchors

PoolOption = Annotated[
    str, typer.Option("--pool", help="The operator's pool.json, or HOST:PORT of a pool that is remembered.")
]
SupportOption = Annotated[
    Path, typer.Option("--support", help="A few images of the task: class folders, or a flat folder without labels.")
]
RemoteOption = Annotated[
    bool,
    typer.Option("--remote/--private", help="Send the images to the pool, or keep them here (the default)."),
]
LicenseOption = Annotated[
    list[str] | None, typer.Option("--license", help="SPDX name that may take part; may be repeated. Default: all.")
]
BlueprintOption = Annotated[str | None, typer.Option("--blueprint", help="Which family, where the pool has several.")]
IdentityOption = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        metavar="DIR",
        help="Folder of a site with the role consumer, for a pool that does not answer everybody.",
        envvar=variables.IDENTITY.name,
    ),
]
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="What genepool descend wrote.")]
PinsOption = Annotated[
    str | None, typer.Option("--pool", help="The pinned pool.json; by default that of a remembered pool.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


def register(app: typer.Typer) -> None:
    """Add the consumer's commands to the root."""
    for command in (select, descend, verify, finetune):
        app.command()(command)


def select(
    *,
    pool: PoolOption,
    support: SupportOption,
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    remote: RemoteOption = False,
    licenses: LicenseOption = None,
    blueprint: BlueprintOption = None,
    identity: IdentityOption = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Which learngenes fit a task, and why."""
    from genepool_client.consumer import output

    with _pool(pool, blueprint, identity, "selecting") as opened:
        support_set = opened.support(support, groups=groups, intensity=intensity)
        selection = opened.select(support_set, _mode(remote), tuple(licenses or ()))
    terminal.answer(selection.as_json(), as_json=as_json, text=output.candidates(selection))
    if not as_json:
        terminal.answer({}, as_json=False, text=output.reasons(selection))


def descend(
    *,
    pool: PoolOption,
    out: Annotated[Path, typer.Option("--out", help="The folder to make; it must not exist.")],
    support: Annotated[
        Path | None, typer.Option("--support", help="A few images of the task; without it the seed itself descends.")
    ] = None,
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    size: Annotated[str | None, typer.Option("--size", help="DEPTH,HEADS; by default the reference size.")] = None,
    max_params: Annotated[str | None, typer.Option("--max-params", help="Largest number of parameters: 1M.")] = None,
    max_bytes: Annotated[str | None, typer.Option("--max-bytes", help="Largest model.safetensors: 2MiB.")] = None,
    remote: RemoteOption = False,
    licenses: LicenseOption = None,
    blueprint: BlueprintOption = None,
    identity: IdentityOption = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """A Vision Transformer for a task, in the size you ask for: selected, downloaded and verified."""
    from genepool_client.consumer import output
    from genepool_client.consumer.descendant.staging import check_place
    from genepool_client.transport import known_pools

    with _pool(pool, blueprint, identity, "descending") as opened:
        budget = opened.budget(size, max_params, max_bytes)
        check_place(out)
        support_set = None if support is None else opened.support(support, groups=groups, intensity=intensity)
        selection = None if support_set is None else opened.select(support_set, _mode(remote), tuple(licenses or ()))
        descendant = opened.write(out, budget, selection or (), support_set)
        note = known_pools.remember(opened.anchors)
    value = output.facts(descendant) | {"selection": selection.as_json() if selection else None, "note": note}
    terminal.answer(value, as_json=as_json, text=output.made(descendant, selection, note))


def verify(
    folder: FolderArgument,
    *,
    pool: PinsOption = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build the weights again from --learngenes and compare the bytes.")
    ] = False,
    learngenes: Annotated[
        Path | None, typer.Option("--learngenes", help="Folder with the learngene files, for --rebuild.")
    ] = None,
    support: Annotated[
        Path | None, typer.Option("--reselect", help="Select again with this support set and compare the weights.")
    ] = None,
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    licenses: LicenseOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Also ask the pool whether any of its learngenes was withdrawn.")
    ] = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """Whether a folder is what the pool signed; offline, against pinned keys."""
    from genepool_client.consumer import output

    if rebuild and learngenes is None:
        raise InvalidInput("OPTION_INVALID", "--rebuild needs the learngenes", "give their folder with --learngenes")
    verified, anchors = _verified(folder, pool, online=online)
    said = [str(verified)]
    if rebuild and learngenes is not None:
        from genepool_client.consumer import reproduce
        from genepool_client.transport.user_folders import default_cache

        said.append(reproduce.rebuild(verified, learngenes, default_cache()))
    if online:
        from genepool_client.consumer.descendant import withdrawal_check
        from genepool_client.transport.channel import Connection

        with Connection(anchors) as connection:
            said.append(withdrawal_check.check(verified, connection))
    if support is not None:
        from genepool_client.consumer import reproduce
        from genepool_client.consumer.pool import Pool

        with (
            terminal.progress("selecting again") as report,
            Pool(anchors.address, anchors, blueprint=verified.blueprint.name, progress=report) as opened,
        ):
            support_set = opened.support(support, groups=groups, intensity=intensity)
            said.append(reproduce.reselect(verified, opened, support_set, tuple(licenses or ())))
    terminal.answer(output.facts(verified) | {"checks": said}, as_json=as_json, text=said)


def finetune(
    folder: FolderArgument,
    *,
    data: Annotated[str, typer.Option("--data", help="Folder of class folders, or a timm data set name.")],
    groups: GroupsOption = False,
    intensity: IntensityOption = "",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the trained net.")] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="How often every image is seen.")] = 10,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images a step.")] = 32,
    lr: Annotated[float, typer.Option("--lr", min=0.0, help="Largest learning rate.")] = 3e-4,
    pool: PinsOption = None,
    device: DeviceOption = "auto",
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where a named data set lies.")] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Train a verified descendant on your own images, and measure it on a held-out part that it never saw."""
    from genepool_client.consumer.descendant.staging import check_place
    from genepool_client.pictures.images import check_source, load_images

    if out is not None:
        check_place(out)
    check_source(data, groups=groups)
    verified, _ = _verified(folder, pool)

    from genepool_client.consumer import finetune as tuning
    from genepool_client.training.device import resolve_device

    with terminal.progress("reading images") as report:
        span = intensity or tuning.intensity_of(verified)
        images = load_images(data, verified.blueprint.image, data_dir, report, groups=groups, intensity=span)
    recipe = tuning.FinetuneRecipe(epochs=epochs, batch=batch, lr=lr, device=resolve_device(device))
    with nullcontext() if out is None else tuning.place(verified, out) as staging:
        with terminal.progress("fine-tuning") as report:
            tuned = tuning.finetune(verified, images, recipe, report)
        if staging is not None:
            tuning.write(tuned, verified, staging)
    value = {
        "before": None if tuned.before is None else tuned.before.share,
        "before_interval": None if tuned.before is None else tuned.before.interval,
        "after": None if tuned.after is None else tuned.after.share,
        "after_interval": None if tuned.after is None else tuned.after.interval,
        "trained": tuned.trained,
        "held_out": tuned.held,
        "caveat": tuned.caveat,
        "classes": list(tuned.classes),
        "out": None if out is None else str(out),
    }
    often = "once" if epochs == 1 else f"{epochs} times"
    text = f"{tuned.says()}; trained {often} on {tuned.trained} images"
    terminal.answer(value, as_json=as_json, text=[text, *images.notes, *([] if out is None else [f"written to {out}"])])


def _mode(remote: bool) -> "Mode":
    return "remote" if remote else "private"


@contextmanager
def _pool(pool: str, blueprint: str | None, identity: Path | None, label: str) -> Iterator["Pool"]:
    from genepool_client.consumer.pool import Pool

    with (
        terminal.progress(label) as report,
        Pool(pool, blueprint=blueprint, identity=identity, progress=report) as opened,
    ):
        yield opened


def _verified(folder: Path, pool: str | None, *, online: bool = False) -> tuple["Descendant", "Anchors"]:
    from genepool_client.consumer.descendant.folder import check_listing
    from genepool_client.consumer.descendant.verify import read_bundle, verify
    from genepool_client.transport import known_pools

    if pool is not None:
        anchors = known_pools.find(pool)
    else:
        check_listing(folder)
        anchors = known_pools.by_release_key(read_bundle(folder).keyid)
    return verify(folder, known_pools.trusted(anchors, ask=online)), anchors
