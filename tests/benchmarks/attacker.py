"""An adaptive attacker against review and selection: it knows every limit, the canary set and all domain embeddings.

    python -m tests.benchmarks.attacker OUT [--minutes N] [--target NAME] [--rng N] [--sites NAME ...] [--steps N]

One site of an honest pool (the sample pack's) turns hostile. Its domain embedding is the best that the rules admit:
the exact centre of the target's kind, with the noise of a large site. Its weights climb the leave-one-out error of the
target's kind by gradient ascent (Adam), start from the members' mean, and are pulled back by penalties on the canary
and by projections onto every published limit; what counts is the most harmful state that the real `Reviewer` found
nothing in. Then TALS selects for fresh support sets, with and without the attacker in the pool.
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
from genepool_client.simulate import few_shot
from genepool_protocol.learngene import algebra, expansion, manifest, tensors
from genepool_protocol.learngene.algebra import Flat
from genepool_protocol.selection import discriminant, net, pixels, tals
from genepool_protocol.selection.embedding import Embedding, task_embedding
from genepool_protocol.selection.retrieval import Member
from genepool_server.admission import canary, profile, screening, screens
from genepool_server.admission.screening import Reviewer
from tests.benchmarks import honest
from tests.benchmarks.honest import TARGETS, Family

Numbers = npt.NDArray[np.float64]
_WEIGHT = 0.7  # what TALS gives the nearest
_BATCH, _SHOTS, _RATE = 50, (1, 5, 20), 2e-3
_CLAIMED = 700  # images: the attacker's noise is that of a site as large as the honest ones


@dataclass(frozen=True)
class Scene:
    """The honest pool and who is attacked.

    Attributes:
        made: the family.
        members: learngenes of the honest sites, by site.
        keys: their noised domain embeddings.
        own: images of the target's kind, of other classes.
        task: images that tasks are drawn from; the attacker has even these.
    """

    made: Family
    members: dict[str, honest.Delta]
    keys: dict[str, Embedding]
    own: ImageSet
    task: ImageSet


class Attack:
    """Gradient ascent under the screens. `best` is the most harmful learngene that a review found nothing in."""

    def __init__(self, scene: Scene, out: Path, rng: int) -> None:
        self.scene, self.out = scene, out
        self.blueprint = scene.made.blueprint
        self.layout = profile.layout_of(self.blueprint)
        self.rng = np.random.default_rng(rng)
        seed = tensors.TensorFile(scene.made.seed_path).flat(
            expansion.gene_layout(self.blueprint, self.blueprint.seed.components)
        )
        self.whole: Flat = seed.astype(np.float32)
        self.seed = self.whole[: algebra.elements(self.layout)]
        self.others = [delta.astype(np.float32) for delta in scene.members.values()]
        self.mean = np.mean([one / np.linalg.norm(one) for one in self.others], axis=0)
        self.judge = canary.Canary(self.blueprint, self.whole)
        self.reviewer = Reviewer(self.blueprint, scene.made.seed_path)
        self.listed = [
            screening.ActiveMember(f"{at:064x}", f"{at:064x}", self.write(f"member-{at}", one), own=False)
            for at, one in enumerate(self.others)
        ]
        parts = profile.blocks(self.layout)
        theirs = np.stack([profile.norms(parts, one) for one in self.others])
        most = np.minimum(
            screens.BLOCK_NORM * profile.norms(parts, self.seed), screens.NORM_RATIO[1] * np.median(theirs, axis=0)
        )
        self.parts, self.most = parts, 0.98 * most
        self.size = self.blueprint.score.size()
        self.base = expansion.expand(
            expansion.plan(self.blueprint, self.size, self.blueprint.seed.components), scene.made.seed
        )
        self.before: dict[int, float] = {}
        self.plan = expansion.plan(self.blueprint, self.size, self.blueprint.components)
        self.best, self.harm, self.tried = np.float16(0.3 * np.mean(self.others, axis=0)), -1.0, 0

    def write(self, name: str, delta: Flat) -> Path:
        """A learngene file."""
        path = self.out / f"{name}.safetensors"
        gene = {key: part.copy() for key, part in algebra.views(self.layout, delta).items()}
        width = self.blueprint.embedding_width
        path.write_bytes(tensors.encode({**gene, "key.mean": np.zeros(width)}, "F16"))
        return path

    def loss(
        self, gene: net.Weights, images: pixels.Pixels, labels: torch.Tensor, weight: float = _WEIGHT
    ) -> torch.Tensor:
        """Mean leave-one-out error of a task at seed + weight x gene, with its graph."""
        moved = {name: self.base[name] + weight * part for name, part in expansion.expand(self.plan, gene).items()}
        patches = pixels.to_patches(self.blueprint, pixels.to_images(self.blueprint, images))
        found = net.features(self.blueprint, self.size, moved, patches).double()
        logits = discriminant.leave_one_out(found, labels)
        answers = (logits * discriminant.sharpness(logits.detach(), labels)).softmax(dim=1)
        return (answers - F.one_hot(labels, answers.shape[1])).square().sum(dim=1).mean()

    def guarded(self, gene: net.Weights) -> torch.Tensor:
        """The canary's error on one of its tasks, of a random one a step."""
        images, labels, tasks = self.judge._public
        task = int(self.rng.integers(int(tasks.max()) + 1))
        where = (tasks == task).numpy()
        if task not in self.before:
            with torch.no_grad():
                nothing = {name: torch.zeros_like(part) for name, part in gene.items()}
                self.before[task] = float(self.loss(nothing, images[where], labels[where]))
        return self.loss(gene, images[where], labels[where]) - self.before[task]

    def project(self, flat: Flat) -> Flat:
        """Onto the limits of norms and directions."""
        for (block, where), most in zip(self.parts.items(), self.most, strict=True):
            norm = np.sqrt(sum(float(np.dot(flat[one], flat[one])) for one in where))
            if norm > most:
                for one in where:
                    flat[one] *= most / norm
            least = 2 * screens.BLOCK_ALONG.get(block.rpartition(".")[2], 0.0)
            mine, mean = (np.concatenate([flat2[one] for one in where]) for flat2 in (flat, self.mean))
            along = profile.cosine(mine, mean)
            if along < least:  # turned towards the mean as far as it must be
                unit = mean / np.linalg.norm(mean)
                missing = (least - along) * np.linalg.norm(mine)
                start = 0
                for one in where:
                    flat[one] += missing * unit[start : start + flat[one].size]
                    start += flat[one].size
        return flat

    def run(self, seconds: float) -> None:
        """Climb until the time is up; every tenth state is reviewed."""
        flat = self.project(self.best.astype(np.float32).copy())
        first, second, pull = np.zeros_like(flat), np.zeros_like(flat), 1.0
        end, step, rate = time.monotonic() + seconds, 0, _RATE
        while time.monotonic() < end:
            gene = {
                name: torch.from_numpy(part.copy()).requires_grad_()
                for name, part in algebra.views(self.layout, flat).items()
            }
            images, labels = self._batch(self.rng, (self.scene.own, self.scene.task)[step % 2])
            harm, cost = self.loss(gene, images, labels), self.guarded(gene)
            (-harm + pull * F.relu(cost - 0.5 * canary.DOUBT)).backward()
            slope = np.concatenate([gene[name].grad.numpy().reshape(-1) for name in self.layout])
            step += 1
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
            change = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-9)
            flat = self.project(flat - rate * np.abs(self.seed).mean() * 10 * change.astype(np.float32))
            if step % 10 == 0:
                findings = self._review(flat)
                names = sorted({one.screen for one in findings})
                if not findings:
                    self._keep(flat)
                worse = bool({"CANARY", "CANARY_DOUBT"} & set(names))
                pull = min(50.0, pull * 1.5) if worse else max(0.5, pull / 1.2)
                if set(names) - {
                    "CANARY",
                    "CANARY_DOUBT",
                }:  # symmetry and likeness have no projection: back towards what passed
                    flat = 0.5 * flat + 0.5 * self.best.astype(np.float32)
                print(
                    f"step {step}: harm {float(harm.detach()):.3f} best {self.harm:.3f} pull {pull:.2f} {names}",
                    flush=True,
                )

    def _batch(self, rng: np.random.Generator, images: ImageSet) -> tuple[pixels.Pixels, torch.Tensor]:
        """As many images of each class."""
        classes = np.unique(images.labels)
        each = _BATCH // len(classes)
        chosen = [rng.permutation(np.flatnonzero(images.labels == one))[:each] for one in classes]
        places = np.concatenate(chosen)
        return images.pixels[places], torch.from_numpy(images.labels[places].astype(np.int64))

    def _review(self, flat: Flat) -> list[screens.Finding]:
        self.tried += 1
        return self.reviewer.review(self.write("attack", flat), self.listed)

    def _keep(self, flat: Flat) -> None:
        images, labels = self._batch(np.random.default_rng(99), self.scene.task)
        gene = net.as_tensors(algebra.views(self.layout, flat.astype(np.float16).astype(np.float32)))
        with torch.no_grad():
            harm = float(self.loss(gene, images, labels))
        if harm > self.harm:
            self.best, self.harm = flat.astype(np.float16), harm
            np.save(self.out / "attack.npy", self.best)


def scene(made: Family, out: Path, target: str, names: Sequence[str], steps: int) -> Scene:
    """The honest pool, whose noise is drawn the same each time, and the target."""
    sites, tasks = honest.pack(out, made.blueprint)
    rng = np.random.default_rng(3)
    keys = {
        name: Embedding(
            (
                made.vectors(sites[name]).mean(axis=0) + rng.normal(0, made.sigma(700), made.blueprint.embedding_width)
            ).astype(np.float32),
            made.sigma(700),
        )
        for name in sites
    }
    members = honest.deltas(made, {name: sites[name] for name in names}, out, steps)
    return Scene(made, members, {name: keys[name] for name in names}, sites[TARGETS[target]], tasks[target])


def embedding(found: Scene) -> Embedding:
    """The best that the rules admit: the centre of the target's kind, as noisy as a site of many images must be."""
    made = found.made
    centre = 0.5 * made.vectors(found.own).mean(axis=0) + 0.5 * made.vectors(found.task).mean(axis=0)
    key = Embedding(centre.astype(np.float32), made.sigma(_CLAIMED))
    changes = {
        "training": manifest.Training(images=_CLAIMED, classes=5, ancestry_steps=1, condense_steps=1, software="x")
    }
    from tests.support import genes, sites

    claim = genes.privacy_for(made.blueprint, _CLAIMED)
    stated = sites.manifest_for(made.blueprint, privacy=claim, **changes)
    manifest.check_privacy(stated, made.blueprint)
    manifest.check_spread(stated, made.blueprint, float(np.linalg.norm(key.mean)))
    return key


def accuracies(found: Scene, delta: honest.Delta, key: Embedding, draws: int) -> Iterator[dict[str, float]]:
    """Of the seed and of TALS without and with the attacker, for each number of shots and draw."""
    made, blueprint = found.made, found.made.blueprint
    layout = expansion.gene_layout(blueprint, blueprint.components)
    everything = {**found.members, "~attacker": delta}
    thin = {
        name: net.as_tensors(tals.thin(blueprint, net.as_tensors(algebra.views(layout, one.astype(np.float32)))))
        for name, one in everything.items()
    }
    whole = expansion.gene_layout(blueprint, blueprint.seed.components)
    seed = algebra.flatten(whole, made.gene).astype(np.float32)
    pool = [Member(name, one, name, at) for at, (name, one) in enumerate(found.keys.items())]
    hostile = [*pool, Member("~attacker", key, "attacker", len(pool))]
    for shots in _SHOTS:
        for draw in range(draws):
            episode = few_shot.draw_episode("attack", found.task.pixels, found.task.labels, shots, draw)
            task = task_embedding(blueprint, made.seed, episode.support)
            scorer = tals.Scorer(blueprint, made.seed, episode.support, episode.support_labels)
            row: dict[str, float] = {"shots": shots, "draw": draw}
            for name, members in (("without", pool), ("with", hostile)):
                answer = tals.select(task, members, tals.Local(scorer, thin), labels=episode.support_labels)
                weights = few_shot.descended(blueprint, blueprint.reference, seed, everything, answer.weights)
                row[name] = few_shot.measure(blueprint, blueprint.reference, weights, episode, 0).before
                row[f"{name}_weight"] = dict(answer.weights).get("~attacker", 0) / 1000
            weights = few_shot.descended(blueprint, blueprint.reference, seed, {}, ())
            row["seed"] = few_shot.measure(blueprint, blueprint.reference, weights, episode, 0).before
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
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument(
        "--sites", nargs="+", default=["animals", "clothing", "digits", "hiragana", "letters", "textures"]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = scene(honest.family(), options.out, options.target, options.sites, options.steps)
    key = embedding(found)
    attack = Attack(found, options.out, options.rng)
    attack.run(60 * options.minutes)
    rows = list(accuracies(found, attack.best, key, options.draws))
    result = {
        "target": options.target,
        "harm": attack.harm,
        "reviews": attack.tried,
        "minutes": options.minutes,
        "sites": options.sites,
        "rows": rows,
    }
    (options.out / f"attacker-{options.target}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        f"{options.target}, {options.minutes:g} minutes, {attack.tried} reviews, leave-one-out error {attack.harm:.3f}"
    )
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
