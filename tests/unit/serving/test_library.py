"""Mapped learngenes: what the ledger names, or nothing."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.manifest import file_layout
from genepool_protocol.wire.errors import StorageError
from genepool_server.serving import descend_request
from genepool_server.serving.embedding_table import EmbeddingTable
from genepool_server.serving.library import Library, StoredFile


def corrupt(function, *args) -> None:
    with pytest.raises(StorageError) as caught:
        function(*args)
    assert caught.value.reason == "BLOB_CORRUPT"
    assert "fsck" in caught.value.fix


@pytest.fixture
def table(view, tmp_path):
    with closing(EmbeddingTable(view.only, tmp_path)) as table:
        yield table


def refs(view) -> list[StoredFile]:
    return [
        descend_request.file_of(found) for found in view.contributions.active(view.blueprint("tiny-16").blueprint, ())
    ]


def test_a_file_is_mapped_once_and_the_longest_unused_goes_first(view):
    library = Library(2)
    a, b, c = refs(view)
    first = library.open(a)
    assert library.open(a) is first
    library.open(b)
    library.open(a)
    library.open(c)
    assert len(library) == 2
    assert library.open(a) is first


def test_the_flat_view_is_the_gene_in_the_files_own_numbers(view):
    layout = expansion.gene_layout(view.only, view.only.components)
    flat = Library(4).flat(refs(view)[0], layout)
    assert flat.dtype == np.float16
    assert flat.size == sum(np.prod(shape) for shape in layout.values())
    assert not flat.flags.writeable


def test_a_changed_byte_is_found_before_the_file_is_used(view):
    ref = refs(view)[0]
    raw = bytearray(Path(ref.path).read_bytes())
    raw[-1] ^= 1
    (view.folder / "changed").write_bytes(raw)
    corrupt(Library(4).open, StoredFile(str(view.folder / "changed"), ref.sha256))


def test_a_missing_or_foreign_file_is_corrupt(view):
    a, b, _ = refs(view)
    corrupt(Library(4).open, StoredFile(str(view.folder / "none"), a.sha256))
    corrupt(Library(4).open, StoredFile(b.path, a.sha256))
    (view.folder / "text").write_text("hello, this is no tensor file")
    corrupt(Library(4).open, StoredFile(str(view.folder / "text"), a.sha256))


def test_other_tensors_than_the_blueprints_are_corrupt(view):
    layout = expansion.gene_layout(view.only, 3)
    corrupt(Library(4).flat, refs(view)[0], layout)


def test_many_threads_open_the_same_files(view):
    library, found = Library(2), []

    def work() -> None:
        for _ in range(50):
            found.extend(library.open(ref).array("key.mean")[0] for ref in refs(view))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 * 50 * 3
    assert len(set(found)) == 3


def test_keys_are_those_of_the_files(view, table):
    library = Library(4)
    for ref, embedding in zip(refs(view), table.embeddings(refs(view)), strict=True):
        file = library.open(ref)
        assert np.array_equal(embedding.mean, file.array("key.mean").astype(np.float32))


def test_a_key_is_read_once_and_survives_its_file(view, table):
    wanted = refs(view)
    before = [embedding.mean.copy() for embedding in table.embeddings(wanted)]
    for ref in wanted:
        (view.folder / "blobs" / ref.sha256).unlink()
    again = [embedding.mean for embedding in table.embeddings(wanted)]
    assert all(np.array_equal(a, b) for a, b in zip(before, again, strict=True))


def test_a_table_grows_block_by_block(view, table, monkeypatch):
    monkeypatch.setattr("genepool_server.serving.embedding_table._ROWS", 2)
    for _ in range(4):
        view.add("east")
    assert len({embedding.mean.tobytes() for embedding in table.embeddings(refs(view))}) == 7
    assert [k.mean.tobytes() for k in table.embeddings(refs(view))] == [
        table.embeddings([r])[0].mean.tobytes() for r in refs(view)
    ]


def test_a_file_without_its_key_is_corrupt_and_leaves_no_row(view, table):
    corrupt(table.embeddings, [StoredFile(str(view.folder / "none"), "0" * 64)])
    corrupt(table.embeddings, [StoredFile(str(view.blueprint("tiny-16").seed_path), "0" * 64)])
    assert len(table.embeddings(refs(view))) == 3


def test_a_key_that_is_not_kept_is_overwritten_and_its_row_used_again(view, table, monkeypatch):
    monkeypatch.setattr("genepool_server.serving.embedding_table._ROWS", 2)
    first, second, third = refs(view)
    before = table.embeddings([first, second, third])
    held = [embedding.mean.copy() for embedding in before]
    table.keep({first.sha256, third.sha256})
    assert not np.any(table._blocks[0][1]), "nothing of it is left"
    assert [embedding.mean.tobytes() for embedding in before] == [mean.tobytes() for mean in held], "who has it, has it"
    view.add("east")
    ids = [ref for ref in refs(view) if ref.sha256 != second.sha256]
    assert len(table.embeddings(ids)) == 3
    assert len(table._blocks) == 2
    assert table.embeddings([second])[0].mean.tobytes() == held[1].tobytes()


def test_a_table_leaves_no_file_behind(view, tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    table = EmbeddingTable(view.only, folder)
    table.embeddings(refs(view))
    assert list(folder.iterdir()) == []
    table.close()


def test_a_learngene_file_has_its_key_at_the_end(view):
    assert list(Library(4).open(refs(view)[0]).header.layout) == list(file_layout(view.only))
