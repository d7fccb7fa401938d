"""Flower's engine starts Ray's processes while the ServerApp speaks gRPC with the pool: no such child may be lost."""

import os
import subprocess
import sys

from genepool_protocol.machine.launching import QUIET

FORKS = 150

# What Ray does (a fork with a function before exec) beside what the ServerApp does (calls in another thread). With
# gRPC's own handlers about one child in thirty is aborted before it becomes another program, and nobody is told.
SCRIPT = f"""
import collections, concurrent.futures, os, subprocess, threading
import grpc

server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
port = server.add_insecure_port("127.0.0.1:0")
server.start()

def talk():
    while True:
        with grpc.insecure_channel(f"127.0.0.1:{{port}}") as channel:
            try:
                channel.unary_unary("/nobody/is-there")(b"", timeout=2)
            except grpc.RpcError:
                pass

for _ in range(2):
    threading.Thread(target=talk, daemon=True).start()
ends = collections.Counter()
for _ in range({FORKS}):
    ends[subprocess.Popen(["true"], preexec_fn=lambda: None).wait(20)] += 1
print(dict(ends), flush=True)
os._exit(0)
"""


def test_no_child_is_lost_while_another_thread_speaks_grpc():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | QUIET, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout.strip(), done.returncode) == (str({0: FORKS}), 0), done.stderr[-2000:]
