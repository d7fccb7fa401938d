"""A descendant on disk: downloaded, verified, loaded, with its head."""
