"""Pages that lie in the repository and come from the code."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.docs.transcripts import ROOT


def _hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED: Final[dict[Path, Callable[[], str]]] = {ROOT / "deploy" / "settings.md": lambda: _hooks().settings()}
"""Page -> what it holds."""
