"""A descendant on its way over mTLS to another process, against building it and sending as many bytes."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio

from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import consume_pb2, consume_pb2_grpc, types_pb2
from genepool_protocol.wire.limits import LIMITS
from genepool_server.app import start_workers
from genepool_server.front.guards.interceptor import ErrorInterceptor
from genepool_server.front.guards.strangers import Strangers
from genepool_server.front.server import OPTIONS
from genepool_server.front.services import consumer_messages
from genepool_server.front.services.descend_service import DescendServicer
from genepool_server.serving.service import Serving, ServingConfig
from genepool_server.tls import client_ca, identity
from tests.benchmarks.reader import METHODS
from tests.benchmarks.rows import MEMBERS, wide
from tests.benchmarks.timing import Row
from tests.support.views import MemoryView


class Floor(grpc.GenericRpcHandler):
    """Two peers of Descend: `Raw` sends as many bytes that lie ready, `Build` builds and sends nothing."""

    def __init__(self, view: MemoryView, serving: Serving) -> None:
        self._view, self._serving = view, serving

    def service(self, details):
        """The handler of our two methods."""
        methods = {"/bench/Raw": self._raw, "/bench/Build": self._build}
        return methods.get(details.method) and grpc.unary_stream_rpc_method_handler(
            methods[details.method],
            request_deserializer=consume_pb2.DescendRequest.FromString,
            response_serializer=consume_pb2.DescendResponse.SerializeToString,
        )

    async def _order(self, request):
        weights, budget = consumer_messages.weights_of(request.weights), consumer_messages.budget_of(request.budget)
        return await self._serving.order(request.blueprint, weights, budget)

    async def _raw(self, request, context) -> AsyncIterator[consume_pb2.DescendResponse]:
        total, chunk = (await self._order(request)).total_bytes, bytes(LIMITS.chunk_bytes)
        for start in range(0, total, len(chunk)):
            yield consume_pb2.DescendResponse(chunk=chunk[: total - start])

    async def _build(self, request, context) -> AsyncIterator[consume_pb2.DescendResponse]:
        order, slot = await self._order(request), self._serving._slots.lease()
        try:
            async for _ in self._serving._dispatcher.stream("build", order.build(slot)):
                pass
        finally:
            self._serving._slots.give_back(slot)
        yield consume_pb2.DescendResponse()


def streaming(quick: bool) -> list[Row]:
    """Descend and its two peers in turns, read by another process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        view = MemoryView(folder, wide(quick))
        for number in range(MEMBERS):
            view.add(f"site-{number}", name="bench", scale=0.01)
        serving = Serving.start(ServingConfig(workers=0, slots=1), view, start_workers)
        try:
            found = asyncio.run(_measure(folder, view, serving, rounds=2 if quick else 7))
        finally:
            serving.close()
    (first, whole, count), (_, raw, _), (_, build, _) = (found[method] for method in METHODS)
    detail = f"{count / 1e6:.0f} MB in {1e3 * whole:.0f} ms; built in {1e3 * build:.0f}, sent raw in {1e3 * raw:.0f}"
    return [
        Row("descend + stream over mTLS, against build + raw stream", whole / (build + raw), 1.15, detail),
        Row("descend: first byte", 1e3 * first, 10.0, "the header of model.safetensors", unit="ms"),
    ]


async def _measure(folder: Path, view: MemoryView, serving: Serving, rounds: int) -> dict:
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    now, key = datetime.now(UTC), SigningKey.generate()
    (folder / "ca.crt").write_text(identity.create_ca(keys, now))
    client_ca.create(keys, now)
    chain = client_ca.Issuer(keys, "bench/log", timedelta(days=1)).issue(key.public, "bench", now)
    (folder / "tls.pem").write_bytes(key.pem() + chain.encode())
    server = grpc.aio.server(interceptors=[ErrorInterceptor(60.0, deadlines=True)], options=OPTIONS)
    descend = DescendServicer(view, serving, SigningKey.generate(), "bench/log", Strangers(60_000))
    consume_pb2_grpc.add_DescendServiceServicer_to_server(descend, server)
    server.add_generic_rpc_handlers([Floor(view, serving)])
    credentials = identity.server_credentials(
        lambda: identity.current(keys, ["localhost"], now), lambda: now, client_ca.read(keys)
    )
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    (folder / "request").write_bytes(_request(view))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.reader"),
        *(f"localhost:{port}", *(str(folder / file) for file in ("ca.crt", "tls.pem", "request")), str(rounds)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    await server.stop(0)
    return json.loads(out)


def _request(view: MemoryView) -> bytes:
    blueprint = view.blueprint("bench").blueprint
    weights = [
        types_pb2.Weight(contribution_id=one.contribution_id, milli=125)
        for one in view.contributions.active(blueprint, ())
    ]
    size = types_pb2.Size(depth=blueprint.depth, heads=blueprint.heads)
    return consume_pb2.DescendRequest(
        blueprint="bench", weights=weights, budget=types_pb2.SizeBudget(size=size)
    ).SerializeToString()
