"""A process of its own that joins a server's Ray, if it can: with the token, or knowing only the address."""

import os
import subprocess
import sys
from pathlib import Path

from genepool_protocol.machine import launching

_JOIN = """
import sys
import ray

ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
print("joined", flush=True)
node = next(node for node in ray.nodes() if node["Alive"])
for _ in sys.stdin:
    stats = ray._private.internal_api.node_stats(
        node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False
    )
    print(stats.store_stats.object_store_bytes_used, flush=True)
"""


def gcs(folder: Path) -> str:
    """Address of the Ray whose files lie in this private folder."""
    (found,) = (folder / "ray" / "session_latest").glob("gcs_server_port_*")
    return f"127.0.0.1:{found.read_text().strip()}"


class Stranger:
    """A driver in another process; `joined` says whether Ray let it in.

    Args:
        address: of Ray.
        token: file with Ray's secret; None: a wrong one of its own.
        work: an empty folder.
    """

    def __init__(self, address: str, token: Path | None, work: Path) -> None:
        work.mkdir()
        own = launching.ray_environment(work)
        if token is not None:
            own["RAY_AUTH_TOKEN_PATH"] = str(token)
        with (work / "stderr").open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _JOIN, address],
                env=launching.environment(own),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                process_group=0,
            )
        self.joined = self._process.stdout.readline().strip() == "joined"

    def store_bytes(self) -> int:
        """Bytes that Ray's object store holds, as the raylet counts them."""
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
