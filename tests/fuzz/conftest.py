"""Says at the end how much was fuzzed."""

from tests.fuzz.judging import RAN


def pytest_terminal_summary(terminalreporter):
    if RAN:
        terminalreporter.write_line(f"fuzz: {RAN.total():,} executions of {len(RAN)} parsers")
