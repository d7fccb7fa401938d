"""Whom this user trusts: anchors in a file that an operator handed over, or remembered under the pool's address.

What follows from anchors is what was verified last of the pool's trust root; the first time, the pool is asked.
"""

import json
import re
from pathlib import Path

from genepool_client.transport.channel import Connection, check_address
from genepool_client.transport.durable import write_atomic
from genepool_client.transport.trust_root import TrustRoot
from genepool_client.transport.user_folders import home
from genepool_protocol.private_files import private_folder
from genepool_protocol.trust.anchors import Anchors, read_anchors
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import InvalidInput, VerificationError


def path_of(address: str) -> Path:
    """The file that remembers the pool of an address."""
    return home() / "pools" / (re.sub(r"[^A-Za-z0-9.-]", "_", address) + ".json")


def find(pool: str | Path) -> Anchors:
    """The anchors of a pool.

    Args:
        pool: path of a `pool.json`, or HOST:PORT of a pool whose anchors are remembered.

    Raises:
        InvalidInput: PATH_MISSING, JSON_MALFORMED or FILE_MALFORMED; OPTION_INVALID, it is neither path nor address.
    """
    text = str(pool)
    if isinstance(pool, Path) or "/" in text or text.endswith(".json") or Path(text).is_file():
        return read_anchors(Path(pool))
    address = check_address(text)
    path = path_of(address)
    if not path.is_file():
        raise InvalidInput(
            "PATH_MISSING",
            f"nothing says what the pool at {address} is known by",
            f"ask its operator for pool.json, and give that file instead of the address, or put it at {path}",
        )
    # the root is pinned; how the pool is reached from here, the user knows better than the file
    return read_anchors(path).model_copy(update={"address": address})


def remember(anchors: Anchors) -> str:
    """Keep the anchors for `genepool verify`; never in place of others for the same address.

    Returns:
        Nothing, or a sentence that says why they are not what is remembered for the address now.
    """
    path = path_of(anchors.address)
    try:
        if path.is_file() and path.read_bytes() == _document(anchors):
            return ""
        if path.is_file() and read_anchors(path).root != anchors.root:
            return f"{path} pins another pool for this address: give --pool FILE to verify this folder"
        private_folder(path.parent)
        write_atomic(path, _document(anchors))
    except OSError as exc:
        return f"{path} cannot be written ({exc.strerror}): give --pool FILE to verify this folder"
    return ""


def _document(anchors: Anchors) -> bytes:
    return json.dumps(anchors.model_dump(by_alias=True), indent=2).encode() + b"\n"


def trusted(anchors: Anchors, *, ask: bool = False) -> Trusted:
    """What is known of a pool without asking it; only when nothing is, it is asked.

    Args:
        anchors: of the pool.
        ask: whether to ask it in any case.

    Raises:
        VerificationError: TRUST_INVALID, and what `Connection.trusted` raises.
        GenepoolError: the pool was never asked, and cannot be reached.
    """
    cached = None if ask else TrustRoot(anchors).cached()
    if cached is not None:
        return cached
    with Connection(anchors) as connection:
        return connection.trusted


def by_release_key(keyid: str) -> Anchors:
    """The remembered anchors of the pool that has, or had, that release key (the keyid selects, and proves nothing).

    Raises:
        VerificationError: KEY_UNKNOWN.
    """
    for path in sorted((home() / "pools").glob("*.json")):
        anchors = read_anchors(path)
        known = TrustRoot(anchors).cached()
        if known is not None and known.release.find(keyid):
            return anchors
    raise VerificationError(
        "KEY_UNKNOWN",
        f"no remembered pool signs with the key {keyid[:16] or '(none)'}",
        "give the pool's anchors with --pool pool.json",
    )
