"""Whoever checks a pool without trusting it: the audit of its log, and a witness of its checkpoints."""
