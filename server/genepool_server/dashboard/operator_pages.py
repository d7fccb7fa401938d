"""Pages for operators: sites, contributions, the map, what leaves, and health."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice
from typing import Any, Final, get_args

from genepool_protocol.learngene.manifest import parse_manifest
from genepool_protocol.trust import envelope, events
from genepool_protocol.trust.enrolment import grouped
from genepool_protocol.wire.errors import Refused
from genepool_server.dashboard import drawing
from genepool_server.dashboard.desk import SVG, Content, Desk, PageRequest
from genepool_server.dashboard.projection import Plane
from genepool_server.records import Contribution, ContributionState, LoadedBlueprint, Site
from genepool_server.serving import descend_request
from genepool_server.tls import certificates

ROWS: Final = 100
"""Rows of a page."""

POINTS: Final = 1000
"""Of the map: the first ones by id; the page says when there are more."""

DAYS: Final = 30
"""Of the drawing of descents."""

_SOON: Final = 14.0
_NO_ROOM: Final = 1e9
_NONE: Final = "0" * 64
_STATES: Final[tuple[ContributionState, ...]] = get_args(ContributionState)


def sites(desk: Desk, asked: PageRequest) -> Content:
    """Every site with its state, keys, and contributions."""
    counts: dict[str, Counter[str]] = {}
    for contribution in desk.pool.contributions.each(brief=True):
        counts.setdefault(contribution.site, Counter())[contribution.state] += 1
    start = asked.number("from", 0)
    rows = [_site(desk, site, counts.get(site.name, Counter())) for site in _part(desk.pool.sites.each(), start)]
    return desk.page("sites.html", asked, sites=rows[:ROWS], states=_STATES, **_pages(rows, start))


def _site(desk: Desk, site: Site, counts: Counter[str]) -> dict[str, Any]:
    ends = certificates.parse(site.certificate.encode(), site.name).not_valid_after_utc if site.certificate else None
    left = (ends - desk.now()).total_seconds() / 86_400 if ends else None
    return {
        "name": site.name,
        "state": site.state,
        "roles": ", ".join(site.roles),
        "fingerprint": grouped(site.fingerprint),
        "ends": ends,
        "soon": left is not None and left < _SOON,
        "counts": counts,
    }


def contributions(desk: Desk, asked: PageRequest) -> Content:
    """Contributions with licence and review, the latest ones first; of one state or site, if asked for."""
    state, site, start = asked.query.get("state", ""), asked.query.get("site", ""), asked.number("from", 0)
    matching = [
        contribution
        for contribution in desk.pool.contributions.each(brief=True)
        if state in ("", contribution.state) and site in ("", contribution.site)
    ][::-1]
    rows = list(_part(matching, start))
    filters = {"state": state, "site": site}
    shown = {"contributions": rows[:ROWS], "total": len(matching), "states": _STATES, "filters": filters}
    return desk.page("contributions.html", asked, **shown, **_pages(rows, start))


def contribution(desk: Desk, asked: PageRequest) -> Content:
    """One contribution with all that its site signed, its review, and its lineage."""
    pool, subject = desk.pool, desk.pool.contributions.get(asked.path["id"])
    manifest = parse_manifest(subject.manifest)
    descendants = list(islice(pool.contributions.descendants.of(subject.contribution_id), ROWS + 1))
    names = {loaded.blueprint.sha256: loaded.blueprint.name for loaded in pool.blueprints()}
    signed = manifest.model_dump(by_alias=True, exclude={"tensors"})
    return desk.page(
        "contribution.html",
        asked,
        contribution=subject,
        manifest=manifest,
        previous="" if manifest.prev == _NONE else manifest.prev,
        blueprint=names.get(subject.blueprint_sha256, ""),
        signed=json.dumps(signed, indent=2, ensure_ascii=False),
        tensors=len(manifest.tensors),
        withdrawal=_withdrawal(desk, subject) if subject.state == "WITHDRAWN" else None,
        descendants=descendants[:ROWS],
        more=len(descendants) > ROWS,
    )


def _withdrawal(desk: Desk, subject: Contribution) -> dict[str, Any]:
    receipt = desk.pool.contributions.standing(subject.contribution_id).withdrawal
    bundle = envelope.parse(receipt)
    event = events.parse(bundle.payload)
    entry = bundle.tlog["logIndex"] if bundle.tlog else ""
    reason, time = getattr(event, "reason", ""), getattr(event, "time", "")
    return {"contribution": subject, "index": entry, "time": time, "reason": reason}


# -- the map -----------------------------------------------------------------------------------------------------------


def embeddings(desk: Desk, asked: PageRequest) -> Content:
    """Where contributions lie: the drawing, and the same as a table."""
    loaded, members, total = _members(desk, asked)
    plane = _plane(desk, loaded, members)
    points = [
        {"contribution": member, "x": float(place[0]), "y": float(place[1])}
        for member, place in zip(members, plane.places, strict=True)
    ]
    names = [other.blueprint.name for other in desk.pool.blueprints()]
    shown = {"points": points[:ROWS], "shares": plane.shares, "total": total, "most": POINTS, "rows": ROWS}
    return desk.page("map.html", asked, blueprint=loaded.blueprint.name, blueprints=names, **shown)


def map_drawing(desk: Desk, asked: PageRequest) -> Content:
    """The drawing."""
    loaded, members, _ = _members(desk, asked)
    if not members:
        raise Refused("POOL_EMPTY", "no contribution is active", "wait for the first one")
    plane = _plane(desk, loaded, members)
    noise = [descend_request.noise_of(member.manifest) for member in members]
    raw = drawing.scatter([member.site for member in members], plane.places, plane.shares, max(noise))
    return Content(raw, SVG)


def _members(desk: Desk, asked: PageRequest) -> tuple[LoadedBlueprint, list[Contribution], int]:
    pool = desk.pool
    loaded = pool.blueprint(asked.query.get("blueprint", "") or pool.blueprints()[0].blueprint.name)
    members = pool.contributions.active_page(loaded.blueprint, (), "", POINTS)
    return loaded, members, pool.contributions.active_count(loaded.blueprint)


def _plane(desk: Desk, loaded: LoadedBlueprint, members: list[Contribution]) -> Plane:
    return desk.plane(loaded, members)


# -- what leaves -------------------------------------------------------------------------------------------------------


def activity(desk: Desk, asked: PageRequest) -> Content:
    """Descents by day, and withdrawals."""
    withdrawn = [subject for subject in desk.pool.contributions.each(brief=True) if subject.state == "WITHDRAWN"][
        : -ROWS - 1 : -1
    ]
    days = _days(desk)
    rows = [(day, count, desk.descents.of(date.fromisoformat(day))) for day, count in days.items()]
    return desk.page(
        "activity.html",
        asked,
        days=rows[::-1],
        totals=desk.pool.contributions.descendants.totals(),
        withdrawals=[_withdrawal(desk, subject) for subject in withdrawn],
    )


def activity_drawing(desk: Desk, asked: PageRequest) -> Content:  # noqa: ARG001 - every page is asked for alike
    """New descendants a day."""
    return Content(drawing.bars(_days(desk), "new descendants", "New descendants a day"), SVG)


def _days(desk: Desk) -> dict[str, int]:
    today = desk.now().date()
    window = [str(today - timedelta(days=back)) for back in range(DAYS - 1, -1, -1)]
    counted = desk.pool.contributions.descendants.by_first_day(window[0])
    return {day: counted.get(day, 0) for day in window}


# -- health ------------------------------------------------------------------------------------------------------------


def health(desk: Desk, asked: PageRequest) -> Content:
    """What stands, and what needs somebody."""
    front, stored = desk.state()
    problems = []
    if front is None or stored is None:
        problems.append("the server is too busy, or its disk fails: a part of this page could not be read")
    if front is not None and front.workers_running < front.workers_wanted:
        problems.append(f"{front.workers_wanted - front.workers_running} workers do not run; they are started again")
    if stored is not None:
        problems += [
            f"the certificate or file {name!r} ends in {days:.0f} days"
            for name, days in stored.days_left.items()
            if days < _SOON
        ]
        problems += ["the disk is nearly full"] if stored.disk_free < _NO_ROOM else []
        problems += [f"{stored.unreviewed} contributions wait for a review"] if stored.unreviewed else []
    return desk.page("health.html", asked, front=front, stored=stored, problems=problems, soon=_SOON)


# -- parts of lists ----------------------------------------------------------------------------------------------------


def _part(rows: Any, start: int) -> Iterator[Any]:
    """A page's rows and one more, if there is one."""
    return islice(rows, start, start + ROWS + 1)


def _pages(rows: list[Any], start: int) -> dict[str, int | None]:
    return {
        "before": max(0, start - ROWS) if start else None,
        "behind": start + ROWS if len(rows) > ROWS else None,
    }
