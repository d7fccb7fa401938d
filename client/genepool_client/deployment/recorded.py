"""`python -m genepool_client.deployment.recorded FILE PROGRAM...`: note this process, then become the program.

So whatever runs was noted before it began, also when whoever started it was killed in that moment.
"""

import os
import sys
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from genepool_client.transport.durable import write_json
from genepool_protocol.machine.processes import beginning
from genepool_protocol.wire.documents import Document

MODULE: Final = "genepool_client.deployment.recorded"


class ProcessRecord(Document):
    """A process, by a number and a beginning that together name it for ever.

    Attributes:
        pid: its number, and that of its session.
        began: see `processes.beginning`.
    """

    schema_: Literal["genepool.process/v1"] = Field(default="genepool.process/v1", alias="schema")
    pid: int = Field(gt=0)
    began: str

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return bool(self.began) and beginning(self.pid) == self.began


def note(path: Path) -> None:
    """Write this process down."""
    own = ProcessRecord(pid=os.getpid(), began=beginning(os.getpid()))
    write_json(path, own.model_dump(by_alias=True))


if __name__ == "__main__":
    note(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell: the words are a program and its arguments
