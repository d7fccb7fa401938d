"""genepool's client: sites, consumers, and simulations of both.

from genepool_client import Pool
model = Pool("pool.json").descend(support="my_images/", max_params="1M")  # a timm VisionTransformer
"""

from typing import TYPE_CHECKING, Any

from genepool_protocol.machine.launching import quieten_grpc

if TYPE_CHECKING:
    from genepool_client.consumer.pool import Pool

__all__ = ["Pool"]


def __getattr__(name: str) -> Any:
    # gRPC and torch are loaded by whoever uses them
    if name == "Pool":
        quieten_grpc()
        from genepool_client.consumer.pool import Pool

        return Pool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
