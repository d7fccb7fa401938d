"""The files of a pool's trust root over gRPC, as `trust.updating` wants them."""

from collections.abc import Callable, Iterator

import grpc

from genepool_protocol.v1 import pool_pb2
from genepool_protocol.v1.pool_pb2_grpc import TrustServiceStub
from genepool_protocol.wire.status import from_rpc_error


def files_of(opened: grpc.Channel, address: str, timeout: float) -> Callable[[str], Iterator[bytes]]:
    """How a file is fetched by its name; who stops reading ends the call.

    Args:
        opened: to the pool.
        address: of it, for sentences.
        timeout: seconds that one file may take.
    """
    stub = TrustServiceStub(opened)

    def fetch(name: str) -> Iterator[bytes]:
        answers = stub.GetFile(pool_pb2.GetFileRequest(name=name), timeout=timeout)
        try:
            for response in answers:
                yield response.chunk
        except grpc.RpcError as exc:
            raise from_rpc_error(exc, address) from exc
        finally:
            answers.cancel()

    return fetch
