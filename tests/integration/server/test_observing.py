"""What an operator sees of a running server: numbers for Prometheus, the access log, ids of requests."""

import json
import logging
import re
import urllib.request
from urllib.error import HTTPError

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genepool_console.log_lines import JsonLines
from genepool_protocol.v1 import consume_pb2, contribute_pb2, pool_pb2, types_pb2
from genepool_protocol.wire.errors import REASONS
from genepool_protocol.wire.status import REQUEST_ID, from_rpc_error
from genepool_protocol.wire.versions import API_VERSION
from genepool_server.observing.meter import METHODS
from tests.integration.server.wire import WireSite, chunks, refused
from tests.support.bound import is_loopback, listeners, tree
from tests.support.server import TIMEOUT, command, new_pool, operate, pool_server, server_process, wait_until

MARK = 0xA7


class Lines(logging.Handler):
    """Keeps what the log would have written under supervision."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def access(self, **members) -> list[dict]:
        rows = [json.loads(text) for text in self.texts]
        rows = [row for row in rows if row["logger"] == "genepool_server.access"]
        return [row for row in rows if members.items() <= row.items()]


@pytest.fixture
def lines():
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pool_server(tmp_path_factory.mktemp("seen"), metrics={"listen": "0"}) as running:
        yield running


def page(server) -> str:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=TIMEOUT) as response:
        return response.read().decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """(name, label value, ...) -> value, the labels in the order of their names."""
    return {
        (one.name, *(one.labels[label] for label in sorted(one.labels))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def support(images: int = 8) -> consume_pb2.SelectRequest:
    pixels = np.full((images, 16, 16, 3), MARK, dtype=np.uint8)
    return consume_pb2.SelectRequest(
        blueprint="tiny-16", pixels=pixels.tobytes(), labels=[number % 2 for number in range(images)]
    )


def order() -> consume_pb2.DescendRequest:
    size = types_pb2.SizeBudget(size=types_pb2.Size(depth=2, heads=2))
    return consume_pb2.DescendRequest(blueprint="tiny-16", budget=size)


def test_the_page_counts_what_happens(server, stubs, new_site, rng):
    before = samples(page(server))
    site = new_site().join()
    site.contribute(rng)
    list(stubs.select.Select(support(), timeout=TIMEOUT))
    list(stubs.descend.Descend(order(), timeout=TIMEOUT))
    error = refused(stubs.pool.GetBlueprint, pool_pb2.GetBlueprintRequest(name="nothing"))
    assert error.reason == "BLUEPRINT_UNKNOWN"
    after = before

    def grew(*key: str) -> float:
        return after.get(key, 0.0) - before.get(key, 0.0)

    def counted() -> bool:
        """A call is counted when it is over at the server, a moment after its answer is here."""
        nonlocal after
        after = samples(page(server))
        keys = [("genepool_refusals_total", "BLUEPRINT_UNKNOWN"), ("genepool_descents_total", "ok")]
        return all(grew(*key) == 1 for key in [*keys, ("genepool_selections_total", "pool")])

    assert wait_until(counted)
    assert grew("genepool_calls_total", "OK", "ContributeService/Commit") == 1
    assert grew("genepool_calls_total", "NOT_FOUND", "PoolService/GetBlueprint") == 1
    assert grew("genepool_call_seconds_count", "SelectService/Select") == 1
    assert grew("genepool_refusals_total", "BLUEPRINT_UNKNOWN") == 1
    for stage in ("statement", "upload", "commit"):
        assert grew("genepool_ingest_total", "ok", stage) == 1
    assert grew("genepool_ingest_bytes_total") > 0
    assert grew("genepool_selections_total", "pool") == 1
    assert grew("genepool_descents_total", "ok") == 1
    assert grew("genepool_descent_bytes_total") > 0


def test_the_page_says_what_stands(server, site, rng):
    site.contribute(rng)
    assert wait_until(lambda: samples(page(server))[("genepool_log_size",)] == server.pool.log.size)
    found = samples(page(server))
    assert found[("genepool_contributions", "ACTIVE")] == len(server.pool.contributions.all())
    assert found[("genepool_sites", "ACTIVE")] == len(server.pool.sites.all())
    assert found[("genepool_store_bytes", "weights")] == sum(
        path.stat().st_size for path in (server.folder / "blobs").rglob("*") if path.is_file()
    )
    assert 0 <= found[("genepool_log_head_age_seconds",)] < 60
    assert 89 < found[("genepool_certificate_days_left", "server")] < 91
    assert found[("genepool_certificate_days_left", "CA of the server")] > 3600
    assert found[("genepool_certificate_days_left", "root of trust")] > 700
    assert found[("genepool_queue_limit", "selections")] == 2
    assert found[("genepool_queue_waiting", "descendants")] == 0
    assert found[("genepool_spool_bytes",)] == found[("genepool_spool_uploads",)] == 0
    assert found[("genepool_workers_wanted",)] == found[("genepool_witness_quorum",)] == 0
    assert found[("genepool_unreadable_total",)] == 0


def test_an_unfinished_upload_is_in_the_spool(server, site, rng):
    packed = site.random(rng)
    begun = site.begin(packed)
    site.write(list(chunks(begun.upload_id, packed.weights[:100], finish=False)))
    assert wait_until(lambda: samples(page(server))[("genepool_spool_bytes",)] == 100)
    found = samples(page(server))
    assert found[("genepool_spool_uploads",)] == 1
    assert found[("genepool_ingest_total", "broken-off", "upload")] >= 1
    server.pool.contributions.intake.spool.discard(begun.upload_id)


def test_labels_are_from_fixed_lists_whatever_strangers_call(server, stubs, site, rng):
    site.contribute(rng)
    for method in ("/genepool.v1.PoolService/<b>", "/evil/\x1b", "/genepool.v1.SelectService/Nothing"):
        with pytest.raises(grpc.RpcError):
            stubs.channel.unary_unary(method)(b"", timeout=TIMEOUT)
    refused(stubs.pool.GetBlueprint, pool_pb2.GetBlueprintRequest(name="a-stranger's-words"))
    codes = {code.name for code in grpc.StatusCode}
    text = page(server)
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            assert one.labels.get("method", "other") in {*METHODS.values(), "other"}
            assert one.labels.get("code", "OK") in codes
            assert one.labels.get("reason", "other") in {*REASONS, "other"}
    assert site.name not in text
    assert "stranger" not in text
    assert str(server.folder) not in text


def test_the_port_answers_one_path_on_loopback_only(server):
    assert server.metrics.startswith("127.0.0.1:")
    for path in ("/", "/metrics/../genepool.toml", "/genepool.toml"):
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(f"http://{server.metrics}{path}", timeout=TIMEOUT)
        caught.value.close()
        assert caught.value.code == 404
    request = urllib.request.Request(f"http://{server.metrics}/metrics", data=b"x", method="POST")
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request, timeout=TIMEOUT)
    caught.value.close()
    assert caught.value.code == 501


def test_by_default_there_is_no_such_port(tmp_path):
    folder = new_pool(tmp_path / "pool")
    with server_process(folder) as process:
        doors = listeners(process.pid)
        assert len({port for _, _, port in doors}) == 2
    with server_process(folder, "--metrics", "0", "--logs", "text") as process:
        more = listeners(process.pid)
        assert len({port for _, _, port in more}) == 3
        assert all(is_loopback(address) for _, address, _ in more)
        assert "INFO genepool_server.app: serving" in process.log.read_text()


def test_a_taken_or_senseless_place_ends_the_command(tmp_path, server):
    folder = new_pool(tmp_path / "pool")
    taken = command("serve", folder, "--metrics", server.metrics)
    assert (taken.returncode, "PORT_IN_USE" in taken.stderr) == (5, True)
    for place in ("here", "1:2:3x", "127.0.0.1:99999"):
        assert command("serve", folder, "--metrics", place).returncode == 2
    assert command("serve", folder, "--logs", "loud").returncode == 2


# -- the access log ----------------------------------------------------------------------------------------------------


def test_each_kind_of_event_has_its_line(server, stubs, new_site, rng, lines):
    site = new_site().join()
    packed = site.random(rng)
    begun = site.begin(packed)
    site.write(list(chunks(begun.upload_id, packed.weights)))
    site.commit(begun.upload_id)
    list(stubs.select.Select(support(), timeout=TIMEOUT))
    parts = list(stubs.descend.Descend(order(), timeout=TIMEOUT))
    refused(site.strange.contribute.BeginNonce, contribute_pb2.BeginNonceRequest(site=site.name))
    assert wait_until(lambda: lines.access(event="refusal"))

    (enrolled,) = lines.access(event="enrolment")
    assert (enrolled["caller"], enrolled["by"], enrolled["site"]) == ("127.0.0.1", "address", site.name)
    assert enrolled["digest"] == site.contributor.key.public.keyid
    (contribution,) = lines.access(event="contribution")
    stored = server.pool.contributions.get(begun.upload_id)
    assert (contribution["caller"], contribution["by"]) == (site.name, "certificate")
    assert (contribution["digest"], contribution["bytes"], contribution["state"]) == (
        stored.sha256,
        len(packed.weights),
        "ACTIVE",
    )
    (selection,) = lines.access(event="select")
    assert (selection["caller"], selection["bytes"], "digest" in selection) == ("127.0.0.1", 8 * 16 * 16 * 3, False)
    (descent,) = lines.access(event="descend")
    assert descent["bytes"] == parts[0].header.total_bytes
    assert re.fullmatch(r"[0-9a-f]{64}", descent["digest"])
    (refusal,) = lines.access(event="refusal")
    assert (refusal["reason"], refusal["code"], refusal["caller"]) == ("CERT_REQUIRED", "UNAUTHENTICATED", "127.0.0.1")
    assert all(row["seconds"] >= 0 and re.fullmatch(r"[0-9a-f]{16}", row["request"]) for row in lines.access())
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["time"]) for row in lines.access())


def test_verdicts_of_the_review_and_of_the_operator_have_their_lines(tmp_path, rng, lines):
    with (
        pool_server(tmp_path, screening="warn", admission="manual", metrics={"listen": "0"}) as server,
        server.stubs() as stubs,
    ):
        committed = WireSite(server, stubs, "north").join().contribute(rng)
        assert wait_until(lambda: lines.access(event="verdict", by="review"))
        operate(server.folder, "admit", committed.contribution_id)
        assert wait_until(lambda: lines.access(event="verdict", by="socket"))
        (reviewed,) = lines.access(event="verdict", by="review")
        (decided,) = lines.access(event="verdict", by="socket")
        assert (reviewed["caller"], reviewed["state"], reviewed["site"]) == ("pool", "QUARANTINED", "north")
        assert (decided["caller"], decided["state"]) == ("operator", "ACTIVE")
        assert decided["digest"] == reviewed["digest"] == server.pool.contributions.all()[0].sha256
        found = samples(page(server))
        assert found[("genepool_reviews_total", "pool", "QUARANTINED")] == 1
        assert found[("genepool_reviews_total", "operator", "ACTIVE")] == 1
        assert found[("genepool_review_seconds_count",)] == 1


def test_an_error_names_its_request_and_the_log_knows_it(stubs, lines):
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.pool.GetBlueprint(pool_pb2.GetBlueprintRequest(name="nothing"), timeout=TIMEOUT))
    trailing = dict(caught.value.trailing_metadata())
    error = from_rpc_error(caught.value, "the test's server")
    assert error.request == trailing[REQUEST_ID]
    assert error.diagnostics().endswith(f"(request {error.request})")
    assert wait_until(lambda: lines.access(request=error.request, reason="BLUEPRINT_UNKNOWN"))


def test_a_command_shows_the_id_that_the_log_knows(server, lines):
    done = command("approve", "nobody", "--dir", server.folder)
    (request,) = re.findall(r"\(request ([0-9a-f]{16})\)", done.stderr)
    (line,) = lines.access(request=request)
    assert (line["event"], line["reason"], line["caller"]) == ("refusal", "SITE_UNKNOWN", "operator")


@pytest.mark.slow
def test_workers_that_die_are_seen_and_so_are_those_that_come_instead(tmp_path):
    folder = new_pool(tmp_path / "pool", serving={"workers": 1})
    with server_process(folder, "--metrics", "0", "--json") as process:
        place = json.loads(process.ready)["metrics"]

        def crew() -> tuple[float, ...]:
            with urllib.request.urlopen(f"http://{place}/metrics", timeout=TIMEOUT) as response:
                found = samples(response.read().decode())
            names = ("workers_wanted", "workers_running", "ray_restarts_total")
            return tuple(found[f"genepool_{name}",] for name in names)

        assert crew() == (1, 1, 0)
        next(one for one in tree(process.pid) if one.name() == "raylet").kill()
        assert wait_until(lambda: crew() == (1, 0, 1), 60)
        assert wait_until(lambda: crew() == (1, 1, 1), 120)
        assert all(json.loads(line)["event"] for line in process.log.read_text().splitlines())


def test_two_calls_have_two_ids_and_good_answers_none(stubs):
    requests = {refused(stubs.pool.GetBlueprint, pool_pb2.GetBlueprintRequest(name="x")).request for _ in range(5)}
    assert len(requests) == 5
    _, call = stubs.pool.GetCapabilities.with_call(
        pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION), timeout=TIMEOUT
    )
    assert REQUEST_ID not in dict(call.trailing_metadata())


def test_no_pixel_key_class_or_path_of_an_image_is_in_log_or_page(server, stubs, new_site, rng, lines):
    site = new_site().join()
    site.contribute(rng)
    images = support()
    list(stubs.select.Select(images, timeout=TIMEOUT))
    images.labels.append(7)  # one too many: refused
    refused(stubs.select.Select, images)
    text = "\n".join([*lines.texts, page(server)])
    assert bytes([MARK] * 4).hex() not in text
    assert "\\xa7\\xa7" not in text
    assert ", ".join(["167"] * 4) not in text
    assert "PRIVATE KEY" not in text
    for key in (server.folder / "keys").glob("*.pem"):
        assert key.read_text().splitlines()[1] not in text
