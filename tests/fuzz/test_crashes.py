"""Every input that once broke a law is kept and read again; and what the fuzzer is made of works."""

import random

import pytest

from genepool_protocol.wire.errors import InvalidInput
from tests.fuzz import judging
from tests.fuzz.__main__ import shrink
from tests.fuzz.judging import CRASHES, Hang, judge
from tests.fuzz.mutation import OPERATIONS, STEP, mutate
from tests.fuzz.targets import TARGETS, Target

BY_NAME = {target.name: target for target in TARGETS}
FOUND = sorted(path for path in CRASHES.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name[:12]}")
def test_what_once_broke_a_parser_does_not_any_more(path):
    judge(BY_NAME[path.parent.name], path.read_bytes(), weigh=True)


def test_every_target_has_a_name_of_its_own():
    assert len(BY_NAME) == len(TARGETS)


def test_a_program_gives_the_same_bytes_each_time_and_every_operation_changes_something():
    rng = random.Random(1)
    examples = [b'{"a":[1,2,{"b":"x"}],"c":"AAAA"}\n', (16).to_bytes(8, "little") + b'{"a":[1,2],"b":1}']
    changed = set()
    for _ in range(2000):
        program = rng.randbytes(1 + STEP)
        made = mutate(examples, program)
        assert made == mutate(examples, program)
        if made != examples[program[0] % 2]:
            changed.add(program[1] % len(OPERATIONS))
    assert changed == set(range(len(OPERATIONS)))


def test_a_parser_that_fails_hangs_or_swallows_memory_is_found_out(monkeypatch):
    monkeypatch.setattr(judging, "SECONDS", 0.2)

    def hang(_):
        while True:
            pass

    def swallow(_):
        assert bytes(64 << 20)

    def refuse(_):
        raise InvalidInput("NO_SUCH_REASON", "x")

    for law, error in (
        (hang, Hang),
        (swallow, AssertionError),
        (refuse, AssertionError),
        (lambda raw: raw[9], IndexError),
    ):
        with pytest.raises(error):
            judge(Target("x", [b""], law), b"", weigh=True)


def test_a_crash_is_made_smaller_as_long_as_it_is_one():
    def law(raw):
        if b"bad" in raw:
            raise RuntimeError

    assert shrink(Target("x", [b""], law), b"some bad bytes" * 3) == b"bad"
