"""The steps at home: images -> ancestry model -> condensed learngene, each with its result as files in work/.

A step that is finished for the same images and blueprint is not repeated; one that was interrupted goes on.

    work/ancestry.safetensors, ancestry.json      the trained ancestry model
    work/condensed.safetensors, condensed.json    the learngene and its domain embedding, in full precision

Who only reads these files, as `site status` and `site submit` do, waits for no torch: what computes is imported there.
"""

import math
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import Materials
from genepool_client.training import privacy
from genepool_client.training.held_out import FEWEST, HeldOutAccuracy
from genepool_client.transport.durable import write_atomic, write_json
from genepool_protocol.learngene import manifest as documents
from genepool_protocol.learngene.tensors import TensorFile, encode
from genepool_protocol.progress import Progress
from genepool_protocol.trust import digest, strict_json
from genepool_protocol.wire.documents import Document, first_problem
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_protocol.wire.limits import LIMITS


class Trained(Document):
    """work/ancestry.json."""

    schema_: Literal["genepool.ancestry/v1"] = Field(default="genepool.ancestry/v1", alias="schema")
    blueprint: str  # hex SHA-256
    data: str  # digest of the images
    images: int
    classes: int
    steps: int
    accuracy: float | None  # on held-out images; None with fewer of them than are worth a number
    intensity: str = ""  # what was black and white in images deeper than a byte, LOW,HIGH
    held_out: int = 0  # images that were never trained on; 0, too, where an earlier version trained
    sha256: str  # of ancestry.safetensors
    size_bytes: int

    @property
    def measured(self) -> HeldOutAccuracy | None:
        """The accuracy with what can be said of it; None where there is none."""
        if self.accuracy is None or not self.held_out:
            return None
        return HeldOutAccuracy(round(self.accuracy * self.held_out), self.held_out)


class Condensed(Document):
    """work/condensed.json."""

    schema_: Literal["genepool.condensed/v1"] = Field(default="genepool.condensed/v1", alias="schema")
    ancestry: Trained
    steps: int
    agreement: float | None  # with the ancestry model
    drawn: str = ""  # `Draw.data` of its domain embedding; empty where an earlier version condensed
    sha256: str  # of condensed.safetensors


_Record = TypeVar("_Record", Trained, Condensed)


def train(materials: Materials, progress: Progress) -> Trained:
    """Train the ancestry model, or return the finished one.

    Raises:
        InvalidInput: IMAGES_TOO_FEW or OPTION_INVALID, no pool would take what would come of it.
        Refused: DATA_CHANGED, an unfinished training has other images or another recipe.
    """
    from genepool_client.training import ancestry

    site, blueprint, images = materials.site, materials.blueprint, materials.images
    privacy.check_budget(len(images.labels), site.config.key_epsilon, site.config.key_delta)
    finished = _finished(site.work / "ancestry", Trained)
    # an update of genepool may bring another recipe; what was finished under the old one stays finished
    same = finished is not None and (finished.blueprint, finished.data) == (blueprint.sha256, images.digest)
    if finished is not None and same and materials.steps in {0, finished.steps}:
        return finished
    seed, recipe = materials.seed.all(), materials.training
    result = ancestry.train_ancestry(blueprint, seed, images, site.work, recipe=recipe, progress=progress)
    raw = encode({name: tensor.numpy() for name, tensor in result.weights.items()}, "F32")
    record = Trained(
        blueprint=blueprint.sha256,
        data=images.digest,
        images=len(images.labels),
        classes=len(images.classes),
        steps=result.steps,
        accuracy=result.accuracy.share if result.accuracy.images >= FEWEST else None,
        held_out=result.accuracy.images,
        intensity=str(images.intensity or ""),
        sha256=digest.sha256_hex(raw),
        size_bytes=len(raw),
    )
    forget(site, "condense")
    _keep(site.work / "ancestry", raw, record)
    (site.work / ancestry.CHECKPOINT).unlink(missing_ok=True)
    return record


def condense_learngene(materials: Materials, progress: Progress) -> Condensed:
    """Condense the trained ancestry model, or return what is condensed already.

    Raises:
        InvalidInput: STEP_MISSING, there is no trained ancestry model; as `train`.
        Refused: DATA_CHANGED, the images are not those it was trained on.
    """
    from genepool_client.training import condense
    from genepool_protocol.selection import net

    site, blueprint, images = materials.site, materials.blueprint, materials.images
    privacy.check_budget(len(images.labels), site.config.key_epsilon, site.config.key_delta)
    trained = _finished(site.work / "ancestry", Trained)
    if trained is None:
        raise _missing(site, "no trained ancestry model", "train")
    if trained.data != images.digest:
        raise Refused(
            "DATA_CHANGED",
            f"the images are not those that the ancestry model in {site.work} was trained on",
            f"train again: genepool site train {site.path}",
        )
    finished = _finished(site.work / "condensed", Condensed)
    if finished is not None and finished.ancestry == trained:
        return finished
    seed, recipe = materials.seed.all(), materials.condensing
    weights = net.as_tensors(TensorFile(site.work / "ancestry.safetensors").all())
    result = condense.condense(blueprint, seed, images, weights, site.work, recipe=recipe, progress=progress)
    draw = _key(materials, seed)
    tensors = {**result.delta, "key.mean": draw.embedding().mean}
    raw = encode({name: tensors[name] for name in documents.file_layout(blueprint)}, "F32")
    record = Condensed(
        ancestry=trained,
        steps=result.steps,
        agreement=None if math.isnan(result.agreement) else result.agreement,
        sha256=digest.sha256_hex(raw),
        drawn=draw.data,
    )
    _keep(site.work / "condensed", raw, record)
    (site.work / condense.CHECKPOINT).unlink(missing_ok=True)
    return record


def _key(materials: Materials, seed: dict[str, np.ndarray]) -> privacy.Draw:
    from genepool_protocol.selection import embedding, net

    site, blueprint, images = materials.site, materials.blueprint, materials.images
    exact = embedding.mean_of(blueprint, net.as_tensors(seed), images.pixels)
    return privacy.release(site.drawn, blueprint, exact, images, site.config.key_epsilon, site.config.key_delta)


def drawn(site: SiteFolder, record: Condensed) -> privacy.Draw | None:
    """The draw that a condensed learngene's domain embedding is; None when keys.json has lost it."""
    return privacy.read(site.drawn).of(record.ancestry.blueprint, record.drawn, record.ancestry.data)


def told(site: SiteFolder, record: Condensed) -> privacy.Told | None:
    """What a person should know of a condensed learngene's domain embedding."""
    draw = drawn(site, record)
    return privacy.told(privacy.read(site.drawn), draw, site.config.key_spent) if draw else None


def condensed(site: SiteFolder) -> tuple[Condensed, dict[str, np.ndarray]]:
    """What `condense_learngene` left: its record, and the tensors of the learngene and its domain embedding.

    Raises:
        InvalidInput: STEP_MISSING.
    """
    record = _finished(site.work / "condensed", Condensed)
    if record is None:
        raise _missing(site, "no condensed learngene", "condense")
    return record, TensorFile(site.work / "condensed.safetensors").all()


def finished(site: SiteFolder) -> tuple[Trained | None, Condensed | None]:
    """The records of the steps that are done."""
    return _finished(site.work / "ancestry", Trained), _finished(site.work / "condensed", Condensed)


def forget(site: SiteFolder, step: Literal["train", "condense"] = "train") -> None:
    """Remove what a step and those after it left in work/, to start again; what was submitted stays."""
    from genepool_client.training import ancestry, condense

    names = ["condensed.json", "condensed.safetensors", condense.CHECKPOINT]
    if step == "train":
        names += ["ancestry.json", "ancestry.safetensors", ancestry.CHECKPOINT]
    for name in names:
        (site.work / name).unlink(missing_ok=True)


def _keep(stem: Path, raw: bytes, record: Document) -> None:
    # the record goes first and comes last: while it is missing, the step is not done
    stem.with_suffix(".json").unlink(missing_ok=True)
    write_atomic(stem.with_suffix(".safetensors"), raw)
    write_json(stem.with_suffix(".json"), record.model_dump(by_alias=True))


def _finished(stem: Path, kind: type[_Record]) -> _Record | None:
    path = stem.with_suffix(".json")
    if not path.exists():
        return None
    value = strict_json.loads(path.read_bytes(), max_bytes=LIMITS.manifest_bytes, what=str(path), floats=True)
    try:
        record = kind.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput(
            "FILE_MALFORMED", f"{path} is not valid: {first_problem(exc)}", "repeat with --fresh"
        ) from exc
    weights = stem.with_suffix(".safetensors")
    if not weights.exists() or digest.sha256_file(weights) != record.sha256:
        raise InvalidInput("FILE_MALFORMED", f"{weights} is not what {path.name} says", "repeat with --fresh")
    return record


def _missing(site: SiteFolder, what: str, command: str) -> InvalidInput:
    return InvalidInput(
        "STEP_MISSING", f"there is {what} in {site.work}", f"first: genepool site {command} {site.path}"
    )
