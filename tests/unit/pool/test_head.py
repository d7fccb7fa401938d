"""The file that says how much of the log was published."""

import threading

from genepool_server.pool.head import NOTHING, Head, Published


def test_a_head_is_read_whole_while_another_process_replaces_it(tmp_path):
    path, over = tmp_path / "log.size", threading.Event()
    Head(path).create()

    def advance():
        old = NOTHING
        try:
            for size in range(1, 300):
                new = Published(size, size.to_bytes(32, "big"))
                Head(path).advance(old, new)
                old = new
        finally:
            over.set()

    writer = threading.Thread(target=advance)
    writer.start()
    sizes = []
    while not over.is_set():
        sizes.append(Head(path).read().size)  # raises when the bytes are those of two heads
    writer.join()
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 10
