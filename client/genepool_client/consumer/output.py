"""How the consumer's answers look: to people as tables and sentences, to programs as JSON values."""

from typing import Any

from genepool_client.consumer.descendant.verify import Descendant
from genepool_client.consumer.select.selection import Selection
from genepool_console import terminal
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.descendant import weight_text


def candidates(answer: Selection) -> terminal.Rows:
    """Every contribution that TALS looked at, best first."""
    rows = [
        {
            "weight": weight_text(candidate.milli) if candidate.milli else "",
            "site": candidate.site,
            "contribution": candidate.contribution_id[:12],
            "licence": candidate.license,
            "images": candidate.images,
            "embedding_distance": f"{candidate.key_distance:.3f}",
            "knn": _score(candidate.knn),
            "lda": _score(candidate.lda),
            "logme": _score(candidate.logme),
            "place": str(candidate.place),
        }
        for candidate in answer.candidates
    ]
    return terminal.table(rows, list(rows[0]))


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def reasons(answer: Selection) -> list[str]:
    """What was chosen, why, and whom to credit."""
    thanks = ", ".join(f"{credit.site} ({credit.license})" for credit in answer.credits)
    return [f"chosen: {answer.choice}, because {answer.reason}", f"credits: {thanks or 'none: the seed alone'}"]


def facts(made: Descendant) -> dict[str, Any]:
    """A verified descendant for programs."""
    lineage = made.lineage
    return {
        "folder": str(made.folder),
        "verified": True,
        "size": str(lineage.size),
        "params": made.blueprint.params(lineage.size),
        "bytes": descendant.total_bytes(made.blueprint, lineage.size),
        "blueprint": made.blueprint.name,
        "origin": lineage.origin,
        "model_sha256": lineage.model,
        "classes": list(made.classes),
        "weights": {item.contribution_id: weight_text(item.milli) for item in lineage.dependencies},
        "credits": [{"site": item.site, "license": item.license} for item in lineage.dependencies],
    }


def made(descended: Descendant, answer: Selection | None, note: str) -> list[str]:
    """A verified descendant for people."""
    lineage, family = descended.lineage, descended.blueprint
    size = f"{family.params(lineage.size):,} parameters, {descendant.total_bytes(family, lineage.size):,} bytes"
    lines = [
        f"folder: {descended.folder}",
        f"size: {lineage.size} (depth, heads), {size}",
        *(f"weight: {weight_text(member.milli)} of {member.site}, {member.license}" for member in lineage.dependencies),
        *(reasons(answer) if answer else ["made from the seed alone"]),
    ]
    if descended.classes:
        lines.append(f"head: closed form, {len(descended.classes)} classes")
    return [*lines, str(descended), *([note] if note else [])]
