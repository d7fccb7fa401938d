"""A descendant's bytes do not depend on how many threads the libraries use: who rebuilds it has another machine."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import numpy as np
from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.size import Size
from genepool_protocol.trust import digest
from tests.support.genes import tiny_blueprint
blueprint, rng = tiny_blueprint(), np.random.default_rng(3)
components = (blueprint.seed.components, blueprint.components)
count = [algebra.elements(expansion.gene_layout(blueprint, n)) for n in components]
seed = rng.standard_normal(count[0]).astype(np.float32)
members = [(weight, rng.standard_normal(count[1]).astype(np.float16)) for weight in (500, -250, 333)]
print(digest.sha256_hex(descendant.build(blueprint, Size(3, 2), seed, members)))
"""


def test_a_descendant_is_rebuilt_bit_by_bit_on_one_and_on_two_threads():
    found = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            cwd=Path(__file__).parents[2],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == 64
