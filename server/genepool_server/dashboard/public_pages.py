"""Pages that show what the pool's public reading service shows: what it is, and its log with proofs."""

import json
from typing import Any, Final

from genepool_protocol.learngene.history import described, listed
from genepool_protocol.trust import merkle, tiles
from genepool_protocol.trust.encoding import b64
from genepool_server.dashboard.desk import Content, Desk, PageRequest

_LATEST: Final = 8
_ROWS: Final = 100
"""Entries of the log on a page."""


def overview(desk: Desk, asked: PageRequest) -> Content:
    """What the pool is, and what stands; an operator sees more of it."""
    pool, (note, size) = desk.pool, desk.pool.log.published()
    blueprints = [
        {
            "name": loaded.blueprint.name,
            "sha256": loaded.blueprint.sha256,
            "image": loaded.blueprint.image,
            "active": pool.contributions.active_count(loaded.blueprint),
        }
        for loaded in pool.blueprints()
    ]
    front, stored = desk.state() if asked.operator else (None, None)
    return desk.page(
        "overview.html",
        asked,
        blueprints=blueprints,
        size=size,
        root=_root(note),
        witnesses=pool.heads.reached(),
        quorum=pool.heads.policy.quorum,
        latest=listed(pool.log.tile, size, max(0, size - _LATEST))[::-1],
        front=front,
        stored=stored,
    )


def log(desk: Desk, asked: PageRequest) -> Content:
    """Entries of the log, the latest ones first."""
    note, size = desk.pool.log.published()
    end = min(size, asked.number("before", size))
    start = max(0, end - _ROWS)
    entries = listed(desk.pool.log.tile, end, start)[::-1]
    return desk.page(
        "log.html",
        asked,
        entries=entries,
        size=size,
        root=_root(note),
        checkpoint=desk.pool.heads.latest(),
        witnesses=desk.pool.heads.reached(),
        older=start,
        newer=min(size, end + _ROWS) if end < size else None,
    )


def entry(desk: Desk, asked: PageRequest) -> Content:
    """One entry, with the proof that the log holds it, and what became of it."""
    proof = _proof(desk, asked)
    body, payload = proof.pop("entry")
    about = described(payload)
    standing = desk.pool.contributions.standing(about["contribution_id"]) if about["contribution_id"] else None
    return desk.page(
        "entry.html",
        asked,
        about=about,
        statement=json.dumps(json.loads(payload), indent=2, ensure_ascii=False),
        leaf=body.decode(),
        standing=standing,
        **proof,
    )


def proof_file(desk: Desk, asked: PageRequest) -> Content:
    """The proof of an entry, for programs."""
    proof = _proof(desk, asked)
    body, payload = proof.pop("entry")
    value = {name: proof[name] for name in ("index", "size", "hashes", "root", "checkpoint")}
    value |= {"leaf": b64(body), "statement": b64(payload)}
    return Content(json.dumps(value, indent=2).encode() + b"\n", "application/json", f"proof-{proof['index']}.json")


def _proof(desk: Desk, asked: PageRequest) -> dict[str, Any]:
    log, index = desk.pool.log, asked.number("index", 0)
    note, size = log.published()
    hashes, root = log.inclusion(index, size), log.root(size) or b""
    ((body, payload),) = tiles.entries(log.tile, index + 1, index)
    merkle.verify_inclusion(merkle.leaf_hash(body), index, size, hashes, root)
    return {
        "entry": (body, payload),
        "index": index,
        "size": size,
        "leaf_hash": b64(merkle.leaf_hash(body)),
        "hashes": [b64(sibling) for sibling in hashes],
        "root": b64(root),
        "checkpoint": note,
    }


def _root(note: str) -> str:
    return note.split("\n")[2] if note else ""
