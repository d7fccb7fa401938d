"""Messages as Flower's grid hands them to a ServerApp, and as a report tells them."""

from flwr.app import Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata

from genepool_client.site.flower.failures import SiteFailure


def reply(message_id: str, answer: Error | RecordDict) -> Message:
    """The answer to an invitation; `src_node_id` is the SuperLink's own, as when it answers for a site that is away."""
    metadata = Metadata(
        run_id=1, message_id="x", src_node_id=1, dst_node_id=1, reply_to_message_id=message_id, group_id="",
        created_at=0.0, ttl=1.0, message_type="query.contribute",
    )  # fmt: skip
    if isinstance(answer, Error):
        return make_message(metadata, error=answer)
    return make_message(metadata, content=answer)


def told_as(failure: SiteFailure) -> str:
    """What a campaign's report says of a site's failure."""
    return f"[{failure.code}] {failure.sentence}"
