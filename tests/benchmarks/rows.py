"""What is measured, one function a row."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genepool_protocol.learngene import algebra, descendant, expansion, manifest
from genepool_protocol.learngene.blueprint import SeedRef, SizeRef, bundled_folder, parse_blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.size import Size
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import embedding, net, tals
from genepool_protocol.selection.pixels import to_images
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.scorer import Local, Scorer
from genepool_server.pool.pool import OpenPool
from tests.benchmarks.floor import Floor
from tests.benchmarks.timing import Row, paired
from tests.support import sites
from tests.support.genes import tiny_blueprint

MEMBERS = 8
_CPU = time.thread_time


def _small(quick: bool, full: int, little: int) -> int:
    return little if quick else full


def wide(quick: bool) -> dict[str, Any]:
    """What a blueprint changes of the tiny one so that its reference net is a ViT-S: 12 layers, 6 heads of 64."""
    return {
        "name": "bench",
        "image": 32,
        "head_dim": 64,
        "heads": _small(quick, 6, 2),
        "mlp_ratio": 4,
        "depth": 12,
        "depths": [2, 12],
        "components": 3,
        "key": SizeRef(depth=2, heads=1),
        "score": SizeRef(depth=2, heads=1),
        "seed": SeedRef(sha256="sha256:" + "0" * 64, size=1, components=12),
    }


def combining(quick: bool) -> Row:
    """G0 + eight learngenes of ViT-S size, fp32, against the memory-copy floor."""
    count = _small(quick, 22_000_000, 1_000_000)
    rng = np.random.default_rng(0)
    seed, out = rng.standard_normal(count, dtype=np.float32), np.empty(count, np.float32)
    members = [(0.125, rng.standard_normal(count, dtype=np.float32)) for _ in range(MEMBERS)]

    # the floor moves (k + 1) vectors' bytes at the speed of a copy, which reads and writes one of them each
    ours, copied = paired(
        _small(quick, 7, 2), lambda: algebra.combine(seed, members, out), lambda: np.copyto(out, seed), clock=_CPU
    )
    copied *= (MEMBERS + 1) / 2
    detail = f"{1e3 * ours:.1f} ms, {1e3 * copied:.1f} ms at the speed of a copy"
    return Row(f"combine k={MEMBERS}, {count / 1e6:.0f}M values", ours / copied, 1.3, detail)


def descending(quick: bool) -> Row:
    """A whole model.safetensors of ViT-S size from eight float16 learngenes, against writing its bytes once."""
    blueprint, rng = tiny_blueprint(**wide(quick)), np.random.default_rng(0)
    size = blueprint.reference
    whole = algebra.elements(expansion.gene_layout(blueprint, blueprint.seed.components))
    part = algebra.elements(expansion.gene_layout(blueprint, blueprint.components))
    seed = rng.standard_normal(whole, dtype=np.float32)
    members = [(125, rng.standard_normal(part, dtype=np.float32).astype(np.float16)) for _ in range(MEMBERS)]
    out = np.empty(algebra.elements(descendant.layout(blueprint, size)), np.float32)
    source = np.ones_like(out)
    ours, copied = paired(
        _small(quick, 5, 2),
        lambda: descendant.build_into(blueprint, size, seed, members, out),
        lambda: np.copyto(out, source),
        clock=_CPU,
    )
    detail = f"{1e3 * ours:.0f} ms for {out.nbytes / 1e6:.0f} MB, {1e3 * copied:.1f} ms to copy them"
    return Row("descend, cold, one thread", ours / copied, None, detail)


def scoring(quick: bool) -> list[Row]:
    """Images x models a second of our forward, against timm's net and against the matrix products alone."""
    import timm

    torch.set_num_threads(1)
    blueprint = parse_blueprint((bundled_folder("nano-32") / "blueprint.json").read_bytes())
    size, count = blueprint.reference, _small(quick, 64, 8)
    plan = expansion.plan(blueprint, size, blueprint.seed.components)
    seed = net.as_tensors(TensorFile(bundled_folder("nano-32") / "seed.safetensors").all())
    weights = expansion.expand(plan, seed)
    pixels = np.random.default_rng(0).integers(0, 256, (count, blueprint.image, blueprint.image, 3), dtype=np.uint8)
    model = timm.create_model(
        descendant.TIMM_ARCHITECTURE, num_classes=0, **descendant.model_args(blueprint, size)
    ).eval()
    images = to_images(blueprint, pixels)

    @torch.inference_mode()
    def peer() -> torch.Tensor:
        model.load_state_dict(weights, strict=True)
        return model(images)

    width, rows = blueprint.width(size.heads), count * blueprint.tokens
    matrices = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]

    @contextmanager
    def floor(dtype: torch.dtype) -> Iterator[Callable[[], None]]:
        inputs = [torch.randn(rows, a).to(dtype) for a, _ in matrices]
        rights = [torch.randn(a, b).to(dtype) for a, b in matrices]

        @torch.inference_mode()
        def run() -> None:
            for _ in range(size.depth):
                for left, right in zip(inputs, rights, strict=True):
                    left @ right

        yield run

    with floor(torch.float32) as single, floor(torch.bfloat16) as half:
        ours, timms, gemm, gemm16 = paired(
            _small(quick, 5, 2), lambda: net.embed(blueprint, size, weights, pixels), peer, single, half, clock=_CPU
        )
    speed = f"{count / ours:.0f} images x models/s"
    return [
        Row("scoring against its bf16 products", ours / gemm16, 1.4, f"{speed}; products alone {count / gemm16:.0f}/s"),
        Row("scoring against its fp32 products", ours / gemm, None, f"products alone {count / gemm:.0f}/s"),
        Row("scoring, times a timm loop", timms / ours, 4.0, f"timm {count / timms:.0f}/s", higher=True),
    ]


def selecting(quick: bool) -> list[Row]:
    """TALS over two pools, 64 labelled images of four classes, so that it walks; nearly all of it is scoring."""
    torch.set_num_threads(1)
    blueprint = parse_blueprint((bundled_folder("nano-32") / "blueprint.json").read_bytes())
    rng, pools = np.random.default_rng(0), {6: 2.0} if quick else {1000: 2.0, 10_000: 5.0}
    seed = net.as_tensors(TensorFile(bundled_folder("nano-32") / "seed.safetensors").all())
    pixels = rng.integers(0, 256, (_small(quick, 64, 16), 32, 32, 3), dtype=np.uint8)
    labels = np.arange(len(pixels)) % 4
    width = blueprint.embedding_width
    members = [
        Member(f"{index:064x}", Embedding(rng.standard_normal(width).astype(np.float32))) for index in range(max(pools))
    ]
    layout = expansion.gene_layout(blueprint, blueprint.components)
    delta = {
        name: torch.from_numpy(0.01 * rng.standard_normal(shape, dtype=np.float32)) for name, shape in layout.items()
    }
    scorer = Scorer(blueprint, seed, pixels, labels)
    evaluator = Local(scorer, dict.fromkeys((member.contribution_id for member in members), delta))

    def run(pool: int) -> tals.TalsSelection:
        task = embedding.task_embedding(blueprint, seed, pixels)
        return tals.select(task, members[:pool], evaluator, labels=labels)

    rows = []
    for pool, target in pools.items():
        (seconds,) = paired(1, lambda pool=pool: run(pool), clock=_CPU)
        detail = f"{seconds:.2f} CPU s on one core; scoring is spread over both"
        what = f"TALS over {pool} learngenes, {len(pixels)} images, two cores"
        rows.append(Row(what, seconds / 2, target, detail, unit="s"))
    return rows


def accepting(quick: bool) -> Row:
    """One contribution from Begin to its receipt, against hashing, writing, syncing and committing as many bytes."""
    rng = np.random.default_rng(0)
    changes = {} if quick else {"head_dim": 64, "heads": 6, "mlp_ratio": 4, "components": 3, "image": 32}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with OpenPool.open(sites.make_pool(folder, **changes)) as pool, Floor(folder) as bare:
            site = sites.join(pool, "bench")
            blueprint = pool.blueprints()[0].blueprint
            raw = [sites.weights_of(blueprint, rng) for _ in range(_small(quick, 6, 2))]
            best = [float("inf")] * 2
            for weights in raw:
                packed = site.pack(pool, weights)  # the site's own work
                ours, floor = paired(
                    1,
                    lambda packed=packed: sites.submit(pool, packed),
                    lambda weights=weights: bare.keep(weights),
                )
                best = [min(best[0], ours), min(best[1], floor)]
    detail = f"{1e3 * best[0]:.0f} ms for {len(raw[0]) / 1e6:.1f} MB, floor {1e3 * best[1]:.0f} ms"
    return Row("accept one contribution", best[0] / best[1], 1.5, detail)


def sizes(_quick: bool) -> Row:
    """A learngene's bytes against its ancestry model's."""
    blueprint = parse_blueprint((bundled_folder("nano-32") / "blueprint.json").read_bytes())
    learngene = 2 * algebra.elements(manifest.file_layout(blueprint))
    ancestry = 4 * blueprint.params(Size(blueprint.depth, blueprint.heads))
    detail = f"{learngene:,} and {ancestry:,} bytes, headers aside"
    return Row("learngene / ancestry model, bytes", learngene / ancestry, 1 / 8, detail)


ROWS = (combining, descending, scoring, selecting, accepting, sizes)
