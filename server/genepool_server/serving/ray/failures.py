"""What Ray's errors mean to a consumer. Ray's own texts hold addresses, process numbers and paths: they stay here.

| what happened | reason |
|---|---|
| one of our errors, raised in a worker | the error itself |
| the worker died, or cannot be reached | SERVING_UNAVAILABLE |
| no memory, store full, too many calls | BUSY |
| a time limit inside the pool | TOO_SLOW |
| anything else | INTERNAL |
"""

import ray.exceptions

from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.serving.dispatcher import lost

LOST = (
    ray.exceptions.RayActorError,  # with ActorDiedError and ActorUnavailableError
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OwnerDiedError,
    ray.exceptions.ObjectLostError,
)
"""The worker is gone, the work is not done: another worker may do it."""

_FULL = (
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectStoreFullError,
    ray.exceptions.OutOfDiskError,
    ray.exceptions.PendingCallsLimitExceeded,
)


def translate(exc: Exception) -> GenepoolError:
    """The error to raise for one that a Ray call raised; the caller keeps the cause for the server's log."""
    cause = exc.cause if isinstance(exc, ray.exceptions.RayTaskError) else exc
    match cause:
        case GenepoolError():
            return cause
        case _ if isinstance(cause, _FULL):
            failure = Unavailable(
                "BUSY", "the pool's workers have no memory left for this", "try again in a minute", retry_seconds="10"
            )
        case _ if isinstance(cause, LOST):
            failure = lost()
        case ray.exceptions.GetTimeoutError():
            failure = Unavailable(
                "TOO_SLOW", "the pool's worker did not answer in time", "try again in a minute", retry_seconds="10"
            )
        case ray.exceptions.TaskCancelledError():
            failure = Unavailable("SERVING_UNAVAILABLE", "the work was cancelled inside the pool", "try again")
        case _:
            return GenepoolError("INTERNAL", "the pool's worker failed", "the cause is in the server's log")
    return failure
