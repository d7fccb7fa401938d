"""Where a pool's bytes lie: the ledger (SQLite or PostgreSQL), the weights (a folder or S3), and the pool's folder."""
