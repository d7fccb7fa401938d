"""How a client reaches a pool: the channel, resumable upload, the log as this client has seen it, durable files."""
