"""Fuzzing: every parser that sees foreign bytes answers a value or one of our errors, and nothing else.

targets.py: the parsers and the law of each. mutation.py: how valid examples are broken. judging.py: one execution.
test_parsers.py: a short run for CI. test_crashes.py: reads again whatever once broke a law. `make fuzz MINUTES=N`
(`__main__.py`) runs as long as it is told, keeps what led to new answers in corpus/ (ignored by git) and what broke a
law in crashes/ (kept by git).
"""
