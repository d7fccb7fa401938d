"""blueprint list, show, make, bake and measure: the architecture families and their seeds."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genepool_console import terminal

if TYPE_CHECKING:
    from genepool_protocol.learngene.blueprint import Blueprint

app = typer.Typer(
    help="Architecture families with their seeds: list, show, make, bake, measure.",
    context_settings=terminal.CONTEXT,
    no_args_is_help=True,
)

OptionalDir = Annotated[
    Path | None, typer.Option("--dir", help="Also look into this pool.", metavar="DIR", show_default=False)
]
NameArgument = Annotated[str, typer.Argument(help="Name of the blueprint.", metavar="NAME", show_default=False)]

_COLUMNS = ("name", "where", "image", "depths", "heads", "params", "learngene_bytes", "sha256")


@app.command("list")
def list_(*, directory: OptionalDir = None, as_json: terminal.JsonOption = False) -> None:
    """List the blueprints that ship with genepool, and those of a pool."""
    rows = [_row(where, path) for where, path in _folders(directory)]
    terminal.answer(rows, as_json=as_json, text=terminal.table(rows, _COLUMNS[:-1]))


@app.command()
def show(name: NameArgument, *, directory: OptionalDir = None, as_json: terminal.JsonOption = False) -> None:
    """Show everything that a blueprint fixes; a pool's own one goes before a bundled one of the same name."""
    from genepool_protocol.learngene.blueprint import bundled_folder

    places = [(where, path) for where, path in _folders(directory) if path.name == name]
    where, path = places[-1] if places else ("bundled", bundled_folder(name))
    blueprint = _read(path)
    value = _row(where, path) | blueprint.model_dump(by_alias=True)
    terminal.answer(value, as_json=as_json)


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="A bundled blueprint that comes without its seed.", metavar="NAME")],
    *,
    weights: Annotated[Path, typer.Option(help="The published weights (.npz, by timm's names).", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="The blueprint's folder.", metavar="DIR")],
    as_json: terminal.JsonOption = False,
) -> None:
    """Make the seed of a blueprint from the published weights that it stands for: the same bytes everywhere."""
    from genepool_server import bake as oven

    blueprint = oven.make_folder(name, weights, out)
    value = {"name": blueprint.name, "folder": str(out), "sha256": blueprint.sha256, "seed": blueprint.seed.sha256}
    terminal.answer(value, as_json=as_json)


@app.command()
def bake(
    name: Annotated[
        str, typer.Argument(help="A bundled blueprint or a folder, whose family is meant.", metavar="NAME")
    ],
    *,
    corpus: Annotated[Path, typer.Option(help="Public images: SET/CLASS/*.png.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="The new blueprint's folder.", metavar="DIR")],
    teacher: Annotated[
        Path | None, typer.Option(help="A teacher's features of the corpus (.npz).", metavar="FILE")
    ] = None,
    seed: Annotated[
        Path | None, typer.Option(help="Begin with this seed, which is its own teacher, not at random.", metavar="FILE")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", min=1, show_default="the recipe's")] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Train the seed of a blueprint on public images; an hour or so, and repeating it continues."""
    import dataclasses

    from genepool_server import bake as oven

    recipe = oven.BakeRecipe() if seed is None else oven.GENTLE
    if steps is not None:
        recipe = dataclasses.replace(recipe, steps=steps)
    with terminal.progress("baking") as report:
        blueprint = oven.bake_folder(name, corpus, out, teacher=teacher, start=seed, recipe=recipe, progress=report)
    value = {"name": blueprint.name, "folder": str(out), "sha256": blueprint.sha256, "seed": blueprint.seed.sha256}
    terminal.answer(value, as_json=as_json)


@app.command()
def measure(
    folder: Annotated[Path, typer.Argument(help="A blueprint's folder, as bake writes it.", metavar="DIR")],
    *,
    tasks: Annotated[Path, typer.Option(help="Public domains it was not baked from: SET/CLASS/*.png.", metavar="DIR")],
    corpus: Annotated[
        Path, typer.Option(help="Public images that domain embeddings are scaled by: SET/CLASS/*.png.", metavar="DIR")
    ],
    draws: Annotated[int, typer.Option(help="Tasks of each domain.", min=1)] = 60,
    as_json: terminal.JsonOption = False,
) -> None:
    """Measure a seed and write it into its blueprint: what each size is worth, and how domain embeddings are scaled."""
    from genepool_server import bake as oven

    with terminal.progress("measuring") as report:
        blueprint = oven.measure_folder(folder, tasks, corpus, draws=draws, progress=report)
    rows = [row.model_dump() for row in blueprint.measured]
    value = {"name": blueprint.name, "sha256": blueprint.sha256, "sizes": rows}
    terminal.answer(value, as_json=as_json, text=terminal.table(rows, ("depth", "heads", "params", "bytes", "score")))


def _folders(directory: Path | None) -> list[tuple[str, Path]]:
    from genepool_protocol.wire.errors import NotFound
    from genepool_server.pool.store.folder import PoolFolder

    roots = [("bundled", Path(str(resources.files("genepool_protocol.learngene"))) / "blueprints")]
    if directory is not None:
        roots.append((str(directory), PoolFolder(directory).blueprints))
        if not roots[1][1].is_dir():
            raise NotFound("POOL_UNKNOWN", f"there is no pool in {directory}", "make one with genepool-server init DIR")
    return [(where, path.parent) for where, root in roots for path in sorted(root.glob("*/blueprint.json"))]


def _read(folder: Path) -> "Blueprint":
    from genepool_protocol.learngene.blueprint import parse_blueprint

    return parse_blueprint((folder / "blueprint.json").read_bytes())


def _row(where: str, folder: Path) -> dict[str, Any]:
    from genepool_protocol.learngene import algebra
    from genepool_protocol.learngene.manifest import file_layout

    blueprint = _read(folder)
    return {
        "name": blueprint.name,
        "where": where,
        "image": blueprint.image,
        "depths": f"{blueprint.depths[0]} to {blueprint.depths[1]}",
        "heads": f"{blueprint.narrowest} to {blueprint.heads}",
        "params": blueprint.params(blueprint.reference),
        "learngene_bytes": 2 * algebra.elements(file_layout(blueprint)),
        "sha256": blueprint.sha256,
    }
