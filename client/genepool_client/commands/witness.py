"""`genepool witness ...`: what somebody types who vouches that a pool shows everybody the same log."""

import time
from pathlib import Path
from typing import Annotated

import typer

from genepool_console import terminal
from genepool_console.terminal import JsonOption

app = typer.Typer(context_settings=terminal.CONTEXT, no_args_is_help=True, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The witness's folder.")]


@app.command()
def init(
    folder: Folder,
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the witness, for instance witness.example/w1.")],
    as_json: JsonOption = False,
) -> None:
    """Make a witness with a fresh key, and print the key that pools and clients name."""
    from genepool_client.audit.witness import Witness

    witness = Witness.create(folder, name)
    terminal.answer(
        {"name": name, "vkey": witness.signer.public.vkey}, as_json=as_json, text=witness.signer.public.vkey
    )


@app.command()
def run(
    folder: Folder,
    *,
    pool: Annotated[str, typer.Option("--pool", metavar="FILE|ADDR", help="The pinned pool.json.")],
    every: Annotated[float, typer.Option("--every", min=0, help="Seconds between two looks; 0: look once.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Look at a pool's log, cosign its head if it continues what was seen before, and hand the cosignature in."""
    from datetime import UTC, datetime

    from genepool_client.audit.witness import Witness
    from genepool_client.transport import known_pools
    from genepool_client.transport.channel import Connection
    from genepool_protocol.wire.errors import Unavailable

    witness, anchors = Witness(folder), known_pools.find(pool)
    while True:
        try:
            with Connection(anchors) as connection:  # each time anew: the pool may have another CA by now
                head, origin = witness.visit(connection, datetime.now(UTC)), connection.trusted.origin
        except Unavailable as exc:
            if not every:
                raise
            terminal.say(exc.diagnostics())  # the pool is away: it is looked at again
        else:
            size = 0 if head is None else head.size
            text = f"cosigned {origin} at {size} entries" if head else f"{origin} shows nothing new"
            terminal.announce({"origin": origin, "size": size}, as_json=as_json, text=text)
        if not every:
            return
        time.sleep(every)
