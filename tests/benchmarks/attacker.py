"""An adaptive attacker against review and selection: it knows every limit, the canary set and all domain embeddings.

    python -m tests.benchmarks.attacker OUT [--minutes N] [--target NAME] [--rng N] [--sites NAME ...] [--steps N]

One site of an honest pool (the sample pack's) turns hostile. Its domain embedding is the best that the rules admit:
the exact centre of the target's kind, with the noise of a large site. Its weights climb the leave-one-out error of the
target's kind by gradient ascent (Adam), start from the members' mean, and are pulled back by penalties on the canary
and on the guard at 1-shot (errors on views), and by projections onto every published limit. What counts is the most
harmful state that the real `Reviewer` found nothing in and that the guard lets through. Then TALS selects for fresh
support sets, with and without the attacker in the pool. `--blind` leaves the guard out of what the attacker minds.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from genepool_client.pictures.images import ImageSet
from genepool_client.simulate.accuracy import before_and_after
from genepool_client.simulate.episodes import draw_episode
from genepool_client.simulate.start_weights import descended
from genepool_protocol.learngene import algebra, expansion, manifest, tensors
from genepool_protocol.learngene.algebra import Flat
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.selection import discriminant, guard, net, pixels, tals, views
from genepool_protocol.selection.embedding import task_embedding
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.scorer import Local, Scorer
from genepool_protocol.selection.support import Pixels
from genepool_server.admission import canary, profile, screening, screens
from genepool_server.admission.screening import Reviewer
from tests.benchmarks import honest
from tests.benchmarks.honest import TARGETS, Family
from tests.support import genes, sites

Numbers = npt.NDArray[np.float64]
_WEIGHT = 0.7  # what TALS gives the nearest
_BATCH, _SHOTS, _RATE = 50, (1, 5, 20), 2e-3
_KNOWN = 12  # draws of one image a class that say which states the guard lets through; measured are other ones
_CLAIMED = 700  # images: the attacker's noise is that of a site as large as the honest ones


@dataclass(frozen=True)
class Scene:
    """The honest pool and who is attacked.

    Attributes:
        family: the blueprint with its seed.
        members: learngenes of the honest sites, by site.
        embeddings: their noised domain embeddings.
        own: images of the target's kind, of other classes.
        task: images that tasks are drawn from; the attacker has even these.
    """

    family: Family
    members: dict[str, honest.Delta]
    embeddings: dict[str, Embedding]
    own: ImageSet
    task: ImageSet


class Attack:
    """Gradient ascent under the screens. `best` is the most harmful learngene that review and guard let through."""

    def __init__(self, scene: Scene, out: Path, rng: int, *, blind: bool) -> None:
        self.scene, self.out, self.blind = scene, out, blind
        self.blueprint = scene.family.blueprint
        self.layout = profile.layout_of(self.blueprint)
        self.rng = np.random.default_rng(rng)
        seed = tensors.TensorFile(scene.family.seed_path).flat(
            expansion.gene_layout(self.blueprint, self.blueprint.seed.components)
        )
        self.whole: Flat = seed.astype(np.float32)
        self.seed = self.whole[: algebra.elements(self.layout)]
        self.others = [delta.astype(np.float32) for delta in scene.members.values()]
        self.mean = np.mean([delta / np.linalg.norm(delta) for delta in self.others], axis=0)
        self.judge = canary.Canary(self.blueprint, self.whole)
        self.reviewer = Reviewer(self.blueprint, scene.family.seed_path, bytes(32))
        self.listed = [
            screening.ActiveMember(
                f"{at:064x}", f"{at:064x}", self.write(f"member-{at}", delta), False, f"site-{at}", at
            )
            for at, delta in enumerate(self.others)
        ]
        self.parts = profile.blocks(self.layout)
        theirs = np.stack([profile.norms(self.parts, delta) for delta in self.others])
        self.most = 0.98 * np.minimum(
            screens.BLOCK_NORM * profile.norms(self.parts, self.seed),
            screens.NORM_RATIO[1] * np.median(theirs, axis=0),
        )
        self.size = self.blueprint.score.size()
        self.base = expansion.expand(
            expansion.plan(self.blueprint, self.size, self.blueprint.seed.components), scene.family.seed
        )
        self.plan = expansion.plan(self.blueprint, self.size, self.blueprint.components)
        self.nothing = net.as_tensors(algebra.views(self.layout, np.zeros_like(self.mean, dtype=np.float32)))
        self.canary_before: dict[int, float] = {}
        self.best, self.harm, self.reviews = np.float16(0.3 * np.mean(self.others, axis=0)), -1.0, 0

    def write(self, name: str, delta: Flat) -> Path:
        """A learngene file."""
        path = self.out / f"{name}.safetensors"
        gene = {key: part.copy() for key, part in algebra.views(self.layout, delta).items()}
        width = self.blueprint.embedding_width
        path.write_bytes(tensors.encode({**gene, "key.mean": np.zeros(width)}, "F16"))
        return path

    def loss(self, gene: net.Weights, images: Pixels, labels: torch.Tensor) -> torch.Tensor:
        """Mean leave-one-out error of a task at seed + weight x gene, with its graph."""
        moved = {name: self.base[name] + _WEIGHT * part for name, part in expansion.expand(self.plan, gene).items()}
        patches = pixels.to_patches(self.blueprint, pixels.to_images(self.blueprint, images))
        features = net.features(self.blueprint, self.size, moved, patches).double()
        logits = discriminant.leave_one_out(features, labels)
        return discriminant.errors(logits, labels, discriminant.sharpness(logits.detach(), labels)).mean()

    def growth(self, gene: net.Weights, images: Pixels, labels: torch.Tensor) -> torch.Tensor:
        """How much more error than the seed."""
        with torch.no_grad():
            before = self.loss(self.nothing, images, labels)
        return self.loss(gene, images, labels) - before

    def on_canary(self, gene: net.Weights) -> torch.Tensor:
        """How much the gene adds to the error of one of the canary's tasks, of a random one a step."""
        images, labels, tasks = self.judge._public
        task = int(self.rng.integers(int(tasks.max()) + 1))
        where = (tasks == task).numpy()
        if task not in self.canary_before:
            with torch.no_grad():
                self.canary_before[task] = float(self.loss(self.nothing, images[where], labels[where]))
        return self.loss(gene, images[where], labels[where]) - self.canary_before[task]

    def on_views(self, gene: net.Weights, draw: int) -> torch.Tensor:
        """What the guard at 1-shot measures, for a support set of the target."""
        episode = draw_episode("attack", self.scene.task.pixels, self.scene.task.labels, 1, draw)
        images, labels = views.spread(episode.support, episode.support_labels)
        return self.growth(gene, images, torch.from_numpy(labels.astype(np.int64)))

    def project(self, flat: Flat) -> Flat:
        """Onto the limits of norms and directions."""
        for (block, slices), most in zip(self.parts.items(), self.most, strict=True):
            norm = np.sqrt(sum(float(np.dot(flat[part], flat[part])) for part in slices))
            if norm > most:
                for part in slices:
                    flat[part] *= most / norm
            least = 2 * screens.BLOCK_ALONG.get(block.rpartition(".")[2], 0.0)
            own, mean = (np.concatenate([vector[part] for part in slices]) for vector in (flat, self.mean))
            along = profile.cosine(own, mean)
            if along < least:  # turned towards the mean as far as it must be
                push = (least - along) * np.linalg.norm(own) * mean / np.linalg.norm(mean)
                start = 0
                for part in slices:
                    flat[part] += push[start : start + flat[part].size]
                    start += flat[part].size
        return flat

    def run(self, seconds: float) -> None:
        """Climb until the time is up; every tenth state is reviewed."""
        flat = self.project(self.best.astype(np.float32).copy())
        first, second = np.zeros_like(flat), np.zeros_like(flat)
        canary_pull, views_pull = 1.0, 0.0 if self.blind else 1.0
        end, step = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            gene = {
                name: torch.from_numpy(part.copy()).requires_grad_()
                for name, part in algebra.views(self.layout, flat).items()
            }
            images, labels = self._batch(self.rng, (self.scene.own, self.scene.task)[step % 2])
            harm, on_canary = self.loss(gene, images, labels), self.on_canary(gene)
            total = canary_pull * F.relu(on_canary - 0.5 * canary.DOUBT) - harm
            seen = 0.0
            if views_pull:
                on_views = self.on_views(gene, int(self.rng.integers(_KNOWN, 10**6)))
                total, seen = total + views_pull * F.relu(on_views - 0.5 * guard.BROKEN), float(on_views.detach())
                views_pull = min(50.0, views_pull * 1.05) if seen > guard.BROKEN else max(0.5, views_pull / 1.02)
            total.backward()
            slope = np.concatenate([gene[name].grad.numpy().reshape(-1) for name in self.layout])
            step += 1
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
            change = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-9)
            flat = self.project(flat - _RATE * np.abs(self.seed).mean() * 10 * change.astype(np.float32))
            if step % 10:
                continue
            self.reviews += 1
            screened = {finding.screen for finding in self.reviewer.review(self.write("attack", flat), self.listed)}
            if not screened:
                self._keep(flat)
            of_canary = screened & {"CANARY", "CANARY_DOUBT"}
            canary_pull = min(50.0, canary_pull * 1.5) if of_canary else max(0.5, canary_pull / 1.2)
            if screened - of_canary:  # symmetry and likeness have no projection: back towards what passed
                flat = 0.5 * flat + 0.5 * self.best.astype(np.float32)
            pulls = f"pulls {canary_pull:.2f} {views_pull:.2f}"
            print(
                f"step {step}: harm {float(harm.detach()):.3f} views {seen:.3f} best {self.harm:.3f} {pulls} "
                f"{sorted(screened)}",
                flush=True,
            )

    def _batch(self, rng: np.random.Generator, images: ImageSet) -> tuple[Pixels, torch.Tensor]:
        """As many images of each class."""
        classes = np.unique(images.labels)
        share = _BATCH // len(classes)
        index = np.concatenate([rng.permutation(np.flatnonzero(images.labels == label))[:share] for label in classes])
        return images.pixels[index], torch.from_numpy(images.labels[index].astype(np.int64))

    def _keep(self, flat: Flat) -> None:
        """Remember it if it does the most harm, counted where the guard at 1-shot does not see it."""
        images, labels = self._batch(np.random.default_rng(99), self.scene.task)
        gene = net.as_tensors(algebra.views(self.layout, flat.astype(np.float16).astype(np.float32)))
        with torch.no_grad():
            harm = float(self.growth(gene, images, labels))
            if harm > self.harm and not self.blind:
                unseen = [float(self.on_views(gene, draw)) <= guard.BROKEN for draw in range(_KNOWN)]
                harm *= float(np.mean(unseen))
        if harm > self.harm:
            self.best, self.harm = flat.astype(np.float16), harm
            np.save(self.out / "attack.npy", self.best)


def scene(family: Family, out: Path, target: str, names: Sequence[str], steps: int) -> Scene:
    """The honest pool, whose noise is drawn the same each time, and the target."""
    sites, tasks = honest.pack(out, family.blueprint)
    rng = np.random.default_rng(3)
    embeddings = {
        name: Embedding(
            (
                family.vectors(sites[name]).mean(axis=0)
                + rng.normal(0, family.sigma(700), family.blueprint.embedding_width)
            ).astype(np.float32),
            family.sigma(700),
        )
        for name in sites
    }
    members = honest.deltas(family, {name: sites[name] for name in names}, out, steps)
    return Scene(family, members, {name: embeddings[name] for name in names}, sites[TARGETS[target]], tasks[target])


def embedding(scene: Scene) -> Embedding:
    """The best that the rules admit: the centre of the target's kind, as noisy as a site of many images must be."""
    family = scene.family
    centre = 0.5 * family.vectors(scene.own).mean(axis=0) + 0.5 * family.vectors(scene.task).mean(axis=0)
    stated = Embedding(centre.astype(np.float32), family.sigma(_CLAIMED))
    changes = {
        "training": manifest.Training(images=_CLAIMED, classes=5, ancestry_steps=1, condense_steps=1, software="x")
    }
    claim = genes.privacy_for(family.blueprint, _CLAIMED)
    statement = sites.manifest_for(family.blueprint, privacy=claim, **changes)
    manifest.check_privacy(statement, family.blueprint)
    manifest.check_spread(statement, family.blueprint, float(np.linalg.norm(stated.mean)))
    return stated


def accuracies(scene: Scene, delta: honest.Delta, hostile: Embedding, draws: int) -> Iterator[dict[str, float]]:
    """Of the seed and of TALS without and with the attacker, for each number of shots and draw."""
    family, blueprint = scene.family, scene.family.blueprint
    layout = expansion.gene_layout(blueprint, blueprint.components)
    everything = {**scene.members, "~attacker": delta}
    thin = {
        name: net.as_tensors(tals.thin(blueprint, net.as_tensors(algebra.views(layout, gene.astype(np.float32)))))
        for name, gene in everything.items()
    }
    whole = expansion.gene_layout(blueprint, blueprint.seed.components)
    seed = algebra.flatten(whole, family.gene).astype(np.float32)
    pool = [Member(name, stated, name, at) for at, (name, stated) in enumerate(scene.embeddings.items())]
    attacked = [*pool, Member("~attacker", hostile, "attacker", len(pool))]
    for shots in _SHOTS:
        for draw in range(draws):
            episode = draw_episode("attack", scene.task.pixels, scene.task.labels, shots, _KNOWN + draw)
            task = task_embedding(blueprint, family.seed, episode.support)
            scorer = Scorer(blueprint, family.seed, episode.support, episode.support_labels)
            row: dict[str, float] = {"shots": shots, "draw": draw}
            for name, members in (("without", pool), ("with", attacked)):
                selection = tals.select(task, members, Local(scorer, thin), labels=episode.support_labels)
                weights = descended(blueprint, blueprint.reference, seed, everything, selection.weights)
                row[name] = before_and_after(blueprint, blueprint.reference, weights, episode, 0).before
                row[f"{name}_weight"] = dict(selection.weights).get("~attacker", 0) / 1000
            weights = descended(blueprint, blueprint.reference, seed, {}, ())
            row["seed"] = before_and_after(blueprint, blueprint.reference, weights, episode, 0).before
            yield row


def interval(values: Numbers) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval over draws."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def main() -> None:
    """Attack, measure, print a table and write OUT/attacker.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--target", choices=sorted(TARGETS), default="digits-5-9")
    parser.add_argument("--rng", type=int, default=0)
    parser.add_argument(
        "--steps", type=int, default=240, help="of the honest sites' ancestry models; 0: the recipe's own"
    )
    parser.add_argument("--blind", action="store_true", help="the attacker does not know of the guard at 1-shot")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument(
        "--sites", nargs="+", default=["animals", "clothing", "digits", "hiragana", "letters", "textures"]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    attacked = scene(honest.family(), options.out, options.target, options.sites, options.steps)
    attack = Attack(attacked, options.out, options.rng, blind=options.blind)
    attack.run(60 * options.minutes)
    rows = list(accuracies(attacked, attack.best, embedding(attacked), options.draws))
    result = {
        "target": options.target,
        "harm": attack.harm,
        "reviews": attack.reviews,
        "minutes": options.minutes,
        "sites": options.sites,
        "rows": rows,
    }
    (options.out / f"attacker-{options.target}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{options.target}, {options.minutes:g} minutes, {attack.reviews} reviews, error grown by {attack.harm:.3f}")
    print("shots   seed  without   with   with - without          with - seed            weight")
    for shots in _SHOTS:
        own = [row for row in rows if row["shots"] == shots]
        of = {name: np.array([row[name] for row in own]) for name in ("seed", "without", "with", "with_weight")}
        means = "  ".join(f"{of[name].mean():.3f}" for name in ("seed", "without", "with"))
        gaps = "  ".join(
            "{:+.3f} ({:+.3f} to {:+.3f})".format(*interval(of["with"] - of[name])) for name in ("without", "seed")
        )
        print(f"{shots:5}  {means}  {gaps}  {of['with_weight'].mean():.2f}")


if __name__ == "__main__":
    main()
