"""The short run: a bounded number of broken examples and of raw bytes for every parser."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.judging import RAN, judge
from tests.fuzz.mutation import STEP, mutate
from tests.fuzz.targets import TARGETS

EXAMPLES = 120
PROGRAM = st.binary(min_size=1, max_size=1 + 4 * STEP)


def run(target, raw):
    return judge(target, raw, weigh=RAN[target.name] % 16 == 0)


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_valid_examples_are_accepted(target):
    assert run(target, target.examples[0]).accepted or target.name == "key_der"  # a key is not its own signature


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_broken_examples_are_read_or_refused_and_nothing_else(target):
    @settings(max_examples=EXAMPLES)
    @given(PROGRAM)
    def law(program):
        run(target, mutate(target.examples, program))

    law()


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_raw_bytes_are_read_or_refused_and_nothing_else(target):
    @settings(max_examples=EXAMPLES // 4)
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: text.encode())))
    @example(b"")
    @example(b"[" * 100_000)
    @example(b"\xff" * 300_000)
    def law(raw):
        run(target, raw)

    law()
