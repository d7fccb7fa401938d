"""`python -m tests.docs` runs the story of the pages and writes what comes out into them; look at the diff."""

import tempfile
from pathlib import Path

from tests.docs.transcripts import ROOT, STORY, Shell, rewritten


def main() -> None:
    """Rewrite every page of the story."""
    with tempfile.TemporaryDirectory() as folder:
        shell = Shell(Path(folder))
        try:
            for page in STORY:
                print(page.relative_to(ROOT), flush=True)
                page.write_text(rewritten(page, shell), encoding="utf-8")
        finally:
            shell.close()


if __name__ == "__main__":
    main()
