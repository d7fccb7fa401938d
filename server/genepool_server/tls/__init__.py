"""X.509 and TLS: the pool's own CA, the CA of its clients, and the certificates that both issue."""
