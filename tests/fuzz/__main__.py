"""`make fuzz MINUTES=N`: fresh seeds until the time is over; what finds a new way through a parser is broken further.

Corpus: tests/fuzz/corpus/TARGET/DIGEST, ignored by git. Crashes: tests/fuzz/crashes/TARGET/DIGEST, to be committed with
the repair. Ends with 1 when there was a crash.
"""

import argparse
import hashlib
import random
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

from tests.fuzz.judging import CRASHES, SECONDS, judge
from tests.fuzz.mutation import STEP, mutate
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
ROUND = 50
"""Executions of one target before it is the next one's turn."""
_LARGEST = 64 << 10
"""Larger inputs are judged, but not kept to be broken further."""


class Fuzzer:
    """A target with its corpus."""

    def __init__(self, target: Target, rng: random.Random) -> None:
        self.target, self.rng = target, rng
        self.folder = CORPUS / target.name
        kept = sorted(path for path in self.folder.glob("*") if path.is_file())
        self.examples = target.examples + [path.read_bytes() for path in kept]
        self.answers: set[str] = {judge(target, raw).answer for raw in self.examples}
        self.ran = self.accepted = 0
        self.crashes: Counter[str] = Counter()

    def round(self) -> None:
        """Some executions."""
        for _ in range(ROUND):
            raw = self._bytes()
            self.ran += 1
            try:
                found = judge(self.target, raw, weigh=self.ran % 64 == 0)
            except Exception as exc:
                self._crashed(raw, exc)
                continue
            self.accepted += found.accepted
            if found.answer not in self.answers:
                self.answers.add(found.answer)
                if len(raw) <= _LARGEST:
                    self.examples.append(raw)
                    _keep(self.folder, raw)

    def report(self) -> str:
        """One line of numbers."""
        ways, crashes = len(self.answers), sum(self.crashes.values())
        ran = f"{self.target.name:18} {self.ran:>9,} executions {self.accepted:>8,} accepted"
        return f"{ran} {ways:>4} different answers {crashes:>4} crashes"

    def _bytes(self) -> bytes:
        if self.rng.random() < 0.02:
            return self.rng.randbytes(self.rng.randrange(200))
        picked = [self.rng.choice(self.examples), *self.rng.sample(self.target.examples, 1)]
        return mutate(picked, b"\0" + self.rng.randbytes(STEP * self.rng.choice((1, 1, 2, 3, 6))))

    def _crashed(self, raw: bytes, exc: Exception) -> None:
        kind = type(exc).__name__
        self.crashes[kind] += 1
        if self.crashes[kind] <= 3:  # of one kind, three are enough to mend it
            path = _keep(CRASHES / self.target.name, shrink(self.target, raw))
            print(f"CRASH {self.target.name}: {kind}: {str(exc)[:200]} ({path})", flush=True)


def shrink(target: Target, raw: bytes) -> bytes:
    """A shorter input that breaks the law in the same way, found by taking pieces out."""
    kind, end = _failure(target, raw), time.monotonic() + 4 * SECONDS
    size = len(raw) // 2
    while size and time.monotonic() < end:
        for start in range(0, len(raw), size):
            shorter = raw[:start] + raw[start + size :]
            if _failure(target, shorter) is kind:
                raw = shorter
                break
        else:
            size //= 2
        size = min(size, len(raw))
    return raw


def _failure(target: Target, raw: bytes) -> type[Exception] | None:
    try:
        judge(target, raw, weigh=True)
    except Exception as exc:
        return type(exc)
    return None


def _keep(folder: Path, raw: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(raw).hexdigest()[:32]
    path.write_bytes(raw)
    return path


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzz every parser that sees foreign bytes."
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long")
    parser.add_argument("--seed", type=int, default=None, help="of the random numbers; a fresh one unless given")
    parser.add_argument("--only", default="", help="name of one target")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    warnings.simplefilter("error")  # as under pytest
    rng, end = random.Random(seed), time.monotonic() + 60 * options.minutes
    fuzzers = [Fuzzer(target, rng) for target in TARGETS if options.only in ("", target.name)]
    if not fuzzers:
        parser.error(f"there is no target {options.only}")
    print(f"fuzzing {len(fuzzers)} parsers for {options.minutes:g} min, seed {seed}", flush=True)
    while time.monotonic() < end:
        for fuzzer in fuzzers:
            if time.monotonic() < end:
                fuzzer.round()
    for fuzzer in fuzzers:
        print(fuzzer.report())
    crashes = sum(sum(fuzzer.crashes.values()) for fuzzer in fuzzers)
    print(f"fuzz: {sum(fuzzer.ran for fuzzer in fuzzers):,} executions of {len(fuzzers)} parsers, {crashes} crashes")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
