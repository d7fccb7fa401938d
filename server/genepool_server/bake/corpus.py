"""What a seed is baked from: public images by class, and a teacher's features of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genepool_protocol.pictures import open_picture
from genepool_protocol.wire.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Corpus:
    """Public images to bake from.

    Attributes:
        images: uint8, shape (N, image, image, 3).
        labels: shape (N,).
        names: SET/CLASS of every label.
        targets: whitened features of a teacher, float32 of shape (2, N, K): of the images as they are, and inverted;
            or None.
    """

    images: np.ndarray
    labels: np.ndarray
    names: list[str]
    targets: np.ndarray | None = None


def read_corpus(folder: Path, image: int, teacher: Path | None = None) -> Corpus:
    """All images of `folder/SET/CLASS/*.png`, and a teacher's features of them, in the same order.

    Args:
        folder: the corpus.
        image: pixels a side.
        teacher: an .npz with `features` and `inverted` of shape (N, width), as `lab/data` makes it.

    Raises:
        InvalidInput: FOLDER_EMPTY; FILE_MALFORMED or DIGEST_MISMATCH when the teacher's file does not fit.
    """
    names: list[str] = []
    images, labels = [], []
    for path in sorted(folder.glob("*/*/")):
        files = sorted(path.glob("*.png"))
        if files:
            labels += [len(names)] * len(files)
            names.append(f"{path.parent.name}/{path.name}")
            images += [np.asarray(open_picture(f).convert("RGB").resize((image, image)), dtype=np.uint8) for f in files]
    if not images:
        raise InvalidInput("FOLDER_EMPTY", f"{folder} holds no SET/CLASS/*.png", "make the corpus first")
    targets = None if teacher is None else _targets(teacher, len(images))
    return Corpus(np.stack(images), np.array(labels), names, targets)


def _targets(teacher: Path, count: int) -> np.ndarray:
    try:
        with np.load(teacher) as saved:
            views = [np.asarray(saved[name], dtype=np.float32) for name in ("features", "inverted")]
    except (OSError, KeyError, ValueError) as exc:
        raise InvalidInput("FILE_MALFORMED", f"{teacher} holds no teacher's features", "make it again") from exc
    if any(len(view) != count for view in views):
        raise InvalidInput("DIGEST_MISMATCH", f"{teacher} has {len(views[0])} rows for {count} images", "make it again")
    return whiten(np.concatenate(views)).reshape(2, count, -1)


def whiten(features: np.ndarray, keep: int = 192) -> np.ndarray:
    """The leading principal components, partly whitened (divided by the fourth root of variance), unit mean square."""
    centred = features - features.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    leading = np.argsort(variance)[::-1][:keep]
    scores = centred @ axes[:, leading] / np.maximum(variance[leading], 1e-6) ** 0.25
    return np.asarray(scores / np.sqrt((scores**2).mean()), dtype=np.float32)
