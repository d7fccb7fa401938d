"""The pool's trust root (TUF): its files, the keys that sign them, and how keys of the pool are replaced.

Nothing of it is needed to accept a contribution; the pool below knows its keys from `signers.json` alone.
"""
