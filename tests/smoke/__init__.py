"""`make smoke`: the topology of deploy/compose.yaml as plain processes, with deploy's own files; run as tests.smoke."""
