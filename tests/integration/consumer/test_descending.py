"""Descendants through a real server: what is asked for is what comes, whole and verified, or nothing."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from genepool_client import Pool
from genepool_client.consumer.descendant import download, staging
from genepool_client.consumer.descendant.verify import verify
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.private_files import append_own
from genepool_protocol.selection import pixels
from genepool_protocol.wire.errors import StorageError, Unavailable
from tests.integration.consumer.conftest import TINY, WIDE, Members, make_pool
from tests.integration.site.proxy import Proxy
from tests.support.refusals import reason_of
from tests.support.server import serving


@pytest.fixture
def out(tmp_path):
    return tmp_path / "models" / "mine"


@pytest.fixture
def wide(server):
    with Pool(server.address, server.anchors, blueprint=WIDE) as opened:
        yield opened


def leftovers(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir()) if out.parent.exists() else []


def test_a_labelled_support_set_gives_a_model_with_a_head(pool, pictures):
    model = pool.descend(support=pictures, size="2,2")
    assert not model.training
    assert model.num_classes == 3
    assert model.pretrained_cfg["label_names"] == ["a", "b", "c"]
    assert model.genepool.size == Size(2, 2)
    found = pool.support(pictures)
    with torch.inference_mode():
        answer = model(pixels.to_images(pool.blueprint, found.pixels)).argmax(dim=1).numpy()
    assert (answer == found.labels).mean() > 0.9


def test_without_labels_the_model_answers_features(pool, loose_pictures):
    model = pool.descend(support=loose_pictures, max_params="4k")
    assert model.num_classes == 0
    assert sum(one.milli for one in model.genepool.dependencies) in range(690, 701)
    assert pool.blueprint.params(model.genepool.size) <= 4000


def test_without_a_task_the_seed_descends_at_the_reference_size(pool):
    lineage = pool.descend().genepool
    assert lineage.dependencies == []
    assert lineage.size == pool.blueprint.reference


def test_the_folder_is_kept_verified_and_loads_in_stock_timm(pool, server, pictures, out):
    model = pool.descend(support=pictures, size=(2, 1), out=out)
    assert leftovers(out) == ["mine"]
    verified = verify(out, server.trusted)
    assert verified.classes == ("a", "b", "c")
    assert verified.lineage == model.genepool
    stock = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=4)
    torch.testing.assert_close(stock.state_dict()["pos_embed"], model.state_dict()["pos_embed"])


def test_a_selection_can_be_reused_for_other_sizes(pool, loose_pictures, tmp_path):
    chosen = pool.select(loose_pictures)
    for heads in (1, 2):
        model = pool.descend(weights=chosen, size=(3, heads), out=tmp_path / str(heads))
        made = tuple((item.contribution_id, item.milli) for item in model.genepool.dependencies)
        assert made == chosen.weights


@pytest.mark.parametrize("kind", ["params", "bytes"])
def test_a_budget_is_kept_and_used(pool, out, kind):
    limit = 10_000 if kind == "params" else 40_000
    model = pool.descend(out=out, **{f"max_{kind}": limit})
    size = model.genepool.size
    used = pool.blueprint.params(size) if kind == "params" else (out / descendant.MODEL_FILE).stat().st_size
    assert used <= limit
    assert size == pool.blueprint.resolve(Budget(**{f"max_{kind}": limit}))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": "9,9"}, "SIZE_OUTSIDE_BLUEPRINT"),
        ({"size": "a lot"}, "OPTION_INVALID"),
        ({"max_params": 10}, "BUDGET_TOO_SMALL"),
        ({"max_bytes": "1k"}, "BUDGET_TOO_SMALL"),
        ({"max_params": "1M", "size": "2,2"}, "OPTION_INVALID"),
        ({"weights": {"ab" * 32: 1000}}, "CONTRIBUTION_UNKNOWN"),
        ({"weights": {"ab" * 32: 5000}}, "WEIGHTS_MALFORMED"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(pool, out, options, expected):
    assert reason_of(pool.descend, out=out, **options) == expected
    assert leftovers(out) == []


def test_a_learngene_that_was_not_admitted_is_refused(tmp_path, out, task):
    with serving(make_pool(tmp_path / "pool", admission="manual")) as server:
        name = Members(server, task).add("north")
        with Pool(server.address, server.anchors, blueprint=TINY) as pool:
            assert reason_of(pool.descend, weights={name: 1000}, out=out) == "CONTRIBUTION_NOT_ACTIVE"
            assert leftovers(out) == []
            server.pool.contributions.decide(name, "ACTIVE", "")
            assert pool.descend(weights={name: 1000}).genepool.dependencies[0].contribution_id == name


def test_a_name_that_is_taken_is_refused_before_anything_is_asked(pool, out):
    out.mkdir(parents=True)
    (out / "thesis.tex").write_text("years of work")
    assert reason_of(pool.descend, out=out) == "PATH_NOT_EMPTY"
    assert leftovers(out) == ["mine"]


def test_an_empty_folder_may_be_filled(pool, server, out):
    out.mkdir(parents=True)
    pool.descend(out=out)
    verify(out, server.trusted)


def test_two_at_once_do_not_disturb_each_other(pool, out):
    with staging.Staging(out, {}):
        assert reason_of(pool.descend, out=out) == "FOLDER_IN_USE"
    pool.descend(out=out)


# --- interruptions ---


@pytest.fixture
def proxy(server):
    host, port = server.address.rsplit(":", 1)
    made = Proxy((host, int(port)))
    yield made
    made.close()


def through(proxy, server):
    return Pool(f"127.0.0.1:{proxy.port}", server.anchors, blueprint=WIDE)


def test_a_connection_that_breaks_is_resumed_to_the_same_bytes(proxy, server, wide, tmp_path, monkeypatch):
    offsets = []
    with through(proxy, server) as pool:
        ask = pool._connection.descend.Descend

        def spy(request, **options):
            offsets.append(request.resume_offset)
            return ask(request, **options)

        monkeypatch.setattr(pool._connection.descend, "Descend", spy)
        broken = iter([True, True])
        pool.progress = lambda done, _total, note: (
            proxy.cut() if note == "bytes" and done > (1 << 20) and next(broken, False) else None
        )
        pool.descend(size="5,4", out=tmp_path / "broken")
    assert len(offsets) >= 2
    assert offsets[0] == 0
    assert offsets[-1] > 0
    wide.descend(size="5,4", out=tmp_path / "whole")
    for name in (*descendant.SIGNED, BUNDLE_FILE):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def interrupt(pool, proxy, out) -> Path:
    """Descend until the pool is gone for good; answers the partial file."""
    pauses, download._PAUSES = download._PAUSES, ()
    try:
        pool.progress = lambda done, _total, note: proxy.cut() if note == "bytes" and done > (1 << 20) else None
        with pytest.raises(Unavailable):
            pool.descend(size="5,4", out=out)
    finally:
        download._PAUSES = pauses
        pool.progress = lambda *_: None
    return out.parent / f".{out.name}.part" / "folder" / descendant.MODEL_FILE


def test_a_download_that_failed_goes_on_with_the_next_command(proxy, server, out):
    with through(proxy, server) as pool:
        partial = interrupt(pool, proxy, out)
        assert not out.exists()
        size = partial.stat().st_size
        assert size > 1 << 20
        done = []
        pool.progress = lambda count, _total, note: done.append(count) if note == "bytes" else None
        pool.descend(size="5,4", out=out)
        assert min(done) > size
    verify(out, server.trusted)
    assert leftovers(out) == ["mine"]


def test_a_damaged_partial_file_is_downloaded_again(proxy, server, out):
    with through(proxy, server) as pool:
        partial = interrupt(pool, proxy, out)
        raw = bytearray(partial.read_bytes())
        raw[5000] ^= 1
        partial.write_bytes(raw)
        pool.descend(size="5,4", out=out)
    verify(out, server.trusted)


def test_a_partial_file_that_is_too_long_is_downloaded_again(proxy, server, out):
    with through(proxy, server) as pool:
        partial = interrupt(pool, proxy, out)
        with partial.open("r+b") as file:
            file.truncate(1 << 26)
        pool.descend(size="5,4", out=out)
    verify(out, server.trusted)


def test_a_partial_file_of_another_request_is_not_continued(proxy, server, out):
    with through(proxy, server) as pool:
        interrupt(pool, proxy, out)
        done = []
        pool.progress = lambda count, _total, note: done.append(count) if note == "bytes" else None
        pool.descend(size="4,4", out=out)
        assert min(done) <= 1 << 20
    assert verify(out, server.trusted).lineage.size == Size(4, 4)


@pytest.mark.parametrize("plant", ["parts", "file"])
def test_a_link_that_somebody_planted_is_not_written_through(pool, out, tmp_path, plant):
    victim, parts = tmp_path / "victim", out.parent / f".{out.name}.part"
    (victim / "folder").mkdir(parents=True)
    kept = victim / "folder" / descendant.MODEL_FILE
    kept.write_bytes(b"keep")
    out.parent.mkdir(mode=0o777)
    if plant == "parts":
        parts.symlink_to(victim)
    else:
        (parts / "folder").mkdir(parents=True)
        (parts / "folder" / descendant.MODEL_FILE).symlink_to(kept)
        wanted = download.Wanted(pool.blueprint, (), Budget(size=Size(2, 2)))
        request = {"origin": pool.trusted.origin, **wanted.as_json()}
        (parts / "request.json").write_text(json.dumps(request))
    assert reason_of(pool.descend, size="2,2", out=out) == "PATH_FOREIGN"
    assert kept.read_bytes() == b"keep"


def test_a_full_disk_leaves_nothing_behind(wide, out, monkeypatch):
    opened = append_own

    class Full:
        """A file on a disk that has room for one megabyte."""

        def __init__(self, file):
            self.file, self.room = file, 1 << 20

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def tell(self):
            return self.file.tell()

        def write(self, raw):
            self.room -= len(raw)
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(raw)

    monkeypatch.setattr(download, "append_own", lambda path: Full(opened(path)))
    with pytest.raises(StorageError) as caught:
        wide.descend(size="5,4", out=out)
    assert caught.value.reason == "DISK_FULL"
    assert leftovers(out) == []


def test_a_pool_that_answers_another_size_is_not_believed(pool):
    wanted = download.Wanted(pool.blueprint, (), Budget(max_params=5000))
    total = descendant.total_bytes(pool.blueprint, Size(5, 2))
    assert reason_of(wanted.check_size, Size(5, 2), total) == "LINEAGE_INVALID"
    assert reason_of(wanted.check_size, Size(1, 1), 7) == "LINEAGE_INVALID"
    wanted.check_size(Size(1, 1), descendant.total_bytes(pool.blueprint, Size(1, 1)))


def test_arrays_of_images_give_the_same_descendant_as_their_folder(pool, pictures):
    found = pool.support(pictures)
    one, two = pool.descend(support=pictures), pool.descend(support=(found.pixels, found.labels))
    assert one.genepool == two.genepool
    np.testing.assert_array_equal(one.head.weight.detach().numpy(), two.head.weight.detach().numpy())
