"""Options and texts that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DirOption = Annotated[Path, typer.Option("--dir", help="The pool's folder.", metavar="DIR")]

FolderArgument = Annotated[Path, typer.Argument(help="The pool's folder.", metavar="DIR", show_default=False)]

SiteArgument = Annotated[str, typer.Argument(help="Name of the site.", metavar="SITE", show_default=False)]

IdArgument = Annotated[
    str, typer.Argument(help="Id of a contribution, or its first characters.", metavar="ID", show_default=False)
]

HERE = Path()
"""Default of `--dir`."""
