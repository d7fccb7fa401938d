"""Public test vectors: read from the folder that GENEPOOL_VECTORS names, never copied into the repository."""

import json
import os
from pathlib import Path

import pytest


def folder() -> Path | None:
    """Where the vectors are, if anywhere."""
    named = os.environ.get("GENEPOOL_VECTORS")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def vectors() -> Path:
    found = folder()
    if found is None:
        pytest.skip("GENEPOOL_VECTORS names no folder of public test vectors")
    if not (found / "README.md").is_file():
        pytest.fail(f"GENEPOOL_VECTORS names {found}, which holds no test vectors")
    return found


@pytest.fixture
def read(vectors):
    return lambda path: json.loads((vectors / path).read_bytes())
