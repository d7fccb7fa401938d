"""One execution: a target's law over some bytes, with bounds on time and memory."""

import signal
import traceback
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from genepool_protocol.wire.errors import REASONS, GenepoolError
from tests.fuzz.targets import Target

CRASHES = Path(__file__).parent / "crashes"
SECONDS = 5.0
"""Of processor time; longer than this for at most a few hundred KB is a hang."""
TIMES, SPARE = 200, 4 << 20
"""Most memory: so many bytes for each byte of input, and so many more (numpy, stock readers, an error's sentence)."""


RAN: Counter[str] = Counter()
"""Executions so far in this process, by the target's name."""


class Hang(Exception):  # noqa: N818 - what it is
    """A law that did not end in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an execution: `answer` tells different ways through a parser apart."""

    answer: str
    accepted: bool


def judge(target: Target, raw: bytes, *, weigh: bool = False) -> Outcome:
    """Run the law once.

    Args:
        target: whose law.
        raw: the bytes.
        weigh: measure memory, too, which takes several times as long.

    Raises:
        Exception: whatever else than a GenepoolError the law raised: a defect.
    """
    RAN[target.name] += 1
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    if weigh:
        tracemalloc.start()
    try:
        target.law(raw)
        found = Outcome("accepted", accepted=True)
    except GenepoolError as exc:
        assert exc.reason in REASONS, f"a refusal without a reason: {exc!r}"
        assert len(exc.diagnostics()) < 2000, "a refusal repeats its input"
        found = Outcome(f"{exc.reason} {_way(exc)}", accepted=False)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = tracemalloc.get_traced_memory()[1] if weigh else 0
        tracemalloc.stop()
    assert peak <= TIMES * len(raw) + SPARE, f"{peak} bytes of memory for {len(raw)} bytes of input"
    return found


def _way(exc: BaseException) -> str:
    """The lines of our own code that led to an error and to what caused it."""
    frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if "genepool_" in frame.filename]
    lines = " ".join(f"{Path(frame.filename).stem}:{frame.lineno}" for frame in frames)
    return f"{lines} < {_way(exc.__cause__)}" if exc.__cause__ else lines


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise Hang(f"longer than {SECONDS} s")
