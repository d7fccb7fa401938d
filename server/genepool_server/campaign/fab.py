"""The code-free app bundle of a campaign, and the digest that sites pin."""

import hashlib
from pathlib import Path


def app_folder() -> Path:
    """What `flwr run` is given."""
    return Path(__file__).parent / "app"


def expected_sha256() -> str:
    """`sha256:...` of the bundle that Flower makes of the folder: an entry for `fabs` of a site's config."""
    from flwr.cli.build import build_fab_from_disk

    return f"sha256:{hashlib.sha256(build_fab_from_disk(app_folder())).hexdigest()}"
