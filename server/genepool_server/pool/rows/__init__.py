"""The ledger's rows: one function per question, each inside the caller's transaction."""
