"""Options that commands of sites and of consumers share."""

from typing import Annotated

import typer

GroupsOption = Annotated[
    bool, typer.Option("--groups", help="Folders in the class folders are groups of images: patients, slides.")
]
IntensityOption = Annotated[
    str,
    typer.Option(
        "--intensity",
        metavar="LOW,HIGH",
        help="What is black and white in images deeper than a byte (signed, float), or: measured.",
    ),
]
