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
        f"| {field.name} | {getattr(limits.LIMITS, field.name):,} | {units[field.name]} |"
        for field in dataclasses.fields(limits.Limits)
    ]
    return "\n".join(["| limit | value | unit |", "|---|---|---|", *rows])


def errors_table() -> str:
    """Every reason with its class, exit code and gRPC code."""
    rows = [
        f"| `{name}` | {row.kind.__name__} | {row.kind.exit_code} | {row.code} |"
        for name, row in sorted(REASONS.items())
    ]
    return "\n".join(["| reason | class | exit code | gRPC code |", "|---|---|---|---|", *rows])


def filled(page: str) -> str:
    """The page with its tables as the code has them."""
    for name, table in (("limits", limits_table()), ("errors", errors_table())):
        page = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{table}\n\g<2>", page, count=1, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
