"""Write the public set of the canary: 16 pictures of each class of five tasks of the sample pack, as arrays.

    python make_canary.py SAMPLES.zip OUT.npz

Origin and licences are those of the sample pack (see its ORIGIN.md); the digits, which are CC-BY-SA, are left out.
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from genepool_protocol.pictures import open_picture

PER_CLASS = 16
LEFT_OUT = "digits-5-9"


def main(samples: Path, out: Path) -> None:
    """Read the pack, write the arrays."""
    pixels, labels, tasks = [], [], []
    with zipfile.ZipFile(samples) as pack:
        paths = [
            name.split("/") for name in sorted(pack.namelist()) if name.startswith("tasks/") and name[-4:] == ".png"
        ]
        names = sorted({path[1] for path in paths} - {LEFT_OUT})
        for task, name in enumerate(names):
            for label, kind in enumerate(sorted({path[2] for path in paths if path[1] == name})):
                for path in [path for path in paths if path[1:3] == [name, kind]][:PER_CLASS]:
                    pixels.append(np.asarray(open_picture(io.BytesIO(pack.read("/".join(path)))).convert("RGB")))
                    labels.append(label)
                    tasks.append(task)
    np.savez_compressed(
        out,
        pixels=np.stack(pixels),
        labels=np.array(labels, np.uint8),
        tasks=np.array(tasks, np.uint8),
        names=np.array(names),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
