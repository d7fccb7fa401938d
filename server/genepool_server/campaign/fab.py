"""The code-free app bundle of a campaign, and the digest that sites pin."""

import hashlib
from pathlib import Path


def app_folder() -> Path:
    """What `flwr run` is given."""
    return Path(__file__).parent / "app"


def build(folder: Path | None = None) -> bytes:
    """The bundle that Flower makes of a folder: the same bytes wherever, whenever and by whomever it is made.

    Args:
        folder: of the app; by default `app_folder()`.
    """
    from flwr.cli.build import build_fab_from_disk

    return build_fab_from_disk(folder or app_folder())


def digest_of(bundle: bytes) -> str:
    """`sha256:...` of a bundle: an entry for `fabs` of a site's config."""
    return f"sha256:{hashlib.sha256(bundle).hexdigest()}"
