"""The tables of protocol/SPEC.md as the code has them. `python -m tests.support.spec` writes them into the page."""

import dataclasses
import re
from pathlib import Path

from genepool_protocol.wire import limits
from genepool_protocol.wire.errors import REASONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "protocol" / "SPEC.md"


def limits_table() -> str:
    """Every limit with its unit, which the source states beside it."""
    source = Path(limits.__file__).read_text(encoding="utf-8")
    units = dict(re.findall(r"^    (\w+): int = .*?# (.*)$", source, re.MULTILINE))
    rows = [
        f"| `{field.name}` | {getattr(limits.LIMITS, field.name):,} | {units[field.name]} |"
        for field in dataclasses.fields(limits.Limits)
    ]
    return "\n".join(["| limit | value | unit |", "|---|---|---|", *rows])


def meanings(page: str) -> dict[str, str]:
    """What the page says of each reason: the one column that a person writes."""
    return dict(re.findall(r"^\| `([A-Z_0-9]+)` \|(?:[^|]*\|){3} ([^|\n]*?) \|$", page, re.MULTILINE))


def errors_table(page: str) -> str:
    """Every reason with its class, gRPC status, exit code and meaning, in the order of the code."""
    said = meanings(page)
    rows = [
        f"| `{name}` | {row.kind.__name__} | {row.code} | {row.kind.exit_code} | {said.get(name, '')} |"
        for name, row in REASONS.items()
    ]
    return "\n".join(["| reason | class | status | exit | meaning |", "|---|---|---|---|---|", *rows])


def filled(page: str) -> str:
    """The page with its tables as the code has them."""
    for name, table in (("limits", limits_table()), ("errors", errors_table(page))):
        start, end = page.index(f"<!-- {name} -->\n") + len(f"<!-- {name} -->\n"), page.index("<!-- end -->")
        while end < start:
            end = page.index("<!-- end -->", end + 1)
        page = f"{page[:start]}{table}\n{page[end:]}"
    return page


def section(number: int) -> str:
    """The text of a section."""
    page = PAGE.read_text(encoding="utf-8")
    return page.split(f"\n## {number}. ")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row of a text, headings among them."""
    found = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in found]


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
