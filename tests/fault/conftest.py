"""Folders in memory where there is such a file system: these faults are about processes and calls, not about disks."""

import shutil
import tempfile
from pathlib import Path

import pytest

from genepool_server.serving.slots import SHARED_MEMORY


@pytest.fixture
def fast_folder(tmp_path):
    if not SHARED_MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="genepool-fault-", dir=SHARED_MEMORY))
    yield folder
    shutil.rmtree(folder)
