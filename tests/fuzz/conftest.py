"""Says at the end how much was fuzzed."""

from tests.fuzz.judging import RAN
from tests.fuzz.targets import TARGETS


def pytest_terminal_summary(terminalreporter):
    counts = [RAN[target.name] for target in TARGETS if RAN[target.name]]
    if counts:
        terminalreporter.write_line(f"fuzz: {sum(counts):,} executions of {len(counts)} parsers")
