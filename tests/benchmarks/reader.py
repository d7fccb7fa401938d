"""A consumer in a process of its own: takes streams in turns and says how long they took. Started by `streaming`."""

import json
import sys
import time
from pathlib import Path

import grpc

from genepool_protocol.v1 import consume_pb2

METHODS = ("/genepool.v1.DescendService/Descend", "/bench/Raw", "/bench/Build")


def take(channel: grpc.Channel, method: str, request: bytes) -> tuple[float, float, int]:
    """Seconds to the first chunk and to the end, and how many bytes of chunks came."""
    started, first, count = time.perf_counter(), 0.0, 0
    call = channel.unary_stream(method, response_deserializer=consume_pb2.DescendResponse.FromString)
    for response in call(request, timeout=120):
        if response.chunk:
            first = first or time.perf_counter() - started
            count += len(response.chunk)
    return first, time.perf_counter() - started, count


def main() -> None:
    """Arguments: address; files of CA, own key and certificate, request; rounds. Answers JSON: each method's best."""
    address, ca, own, request, rounds = sys.argv[1:]
    credentials = grpc.ssl_channel_credentials(*(Path(file).read_bytes() for file in (ca, own, own)))
    best = {method: [float("inf"), float("inf"), 0] for method in METHODS}
    with grpc.secure_channel(address, credentials) as channel:
        for _ in range(int(rounds)):
            for method in METHODS:
                first, whole, count = take(channel, method, Path(request).read_bytes())
                best[method] = [min(best[method][0], first), min(best[method][1], whole), count]
    print(json.dumps(best))


if __name__ == "__main__":
    main()
