"""Small real image files of every kind."""

from pathlib import Path

import numpy as np
from PIL import Image


def blob(rng: np.random.Generator, label: int, size: int = 16) -> np.ndarray:
    """A noisy picture whose class can be learned: a bright square whose place and colour depend on the label."""
    picture = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
    third = size // 3
    row, column = divmod(label % 9, 3)
    picture[row * third : (row + 1) * third, column * third : (column + 1) * third, label % 3] = 255
    return picture


def write_classes(folder: Path, counts: dict[str, int], rng: np.random.Generator, size: int = 16) -> Path:
    """A folder of class folders with so many PNG files each."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(blob(rng, label, size)).save(folder / name / f"{index:03d}.png")
    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    """An array of bytes in the format of the MNIST files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())
