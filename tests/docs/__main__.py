"""`python -m tests.docs` writes the generated pages, runs the story of the others and writes what comes out into them.

`--generated` leaves the story out, which takes minutes. Look at the diff.
"""

import sys
import tempfile
from pathlib import Path

from tests.docs.generated import GENERATED
from tests.docs.transcripts import ROOT, STORY, Shell, rewritten


def main() -> None:
    """Rewrite every page that is generated, and every page of the story."""
    for page, text in GENERATED.items():
        page.write_text(text(), encoding="utf-8")
    if "--generated" in sys.argv:
        return
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
