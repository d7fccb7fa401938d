"""What tells a broken mixture from an honest one at one image a class: errors on views, against the seed's.

    python -m tests.benchmarks.one_image OUT [--draws N] [--sites NAME ...]

OUT is the folder of `tests.benchmarks.attacker`, with its attack.npy. For every task of the sample pack, the mixture
that the domain embeddings name, and the attacker's learngene at 0.7; the growth of the error, and the accuracy.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from genepool_client.simulate.accuracy import before_and_after
from genepool_client.simulate.episodes import draw_episode
from genepool_client.simulate.start_weights import descended
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.selection import combination, embedding, net, retrieval, tals
from genepool_protocol.selection.retrieval import Member
from genepool_protocol.selection.scorer import Local, Scorer
from tests.benchmarks import attacker, honest


def main() -> None:
    """Print quantiles of the growth, and what falling back beyond each limit costs and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sites", nargs="+", default=["animals", "clothing", "digits"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    family = honest.family()
    blueprint = family.blueprint
    layout = expansion.gene_layout(blueprint, blueprint.components)
    whole = algebra.flatten(expansion.gene_layout(blueprint, blueprint.seed.components), family.gene).astype(np.float32)
    rows = []
    for target in honest.TARGETS:
        scene = attacker.scene(family, options.out, target, options.sites, 240)
        everything = {**scene.members, "~attacker": np.load(options.out / "attack.npy")}
        thin = {
            name: net.as_tensors(tals.thin(blueprint, net.as_tensors(algebra.views(layout, gene.astype(np.float32)))))
            for name, gene in everything.items()
        }
        members = [Member(name, stated, name, at) for at, (name, stated) in enumerate(scene.embeddings.items())]
        for draw in range(options.draws):
            episode = draw_episode(target, scene.task.pixels, scene.task.labels, 1, draw)
            task = embedding.task_embedding(blueprint, family.seed, episode.support)
            local = Local(Scorer(blueprint, family.seed, episode.support, episode.support_labels), thin)
            mixtures = {
                "seed": (),
                "honest": combination.by_nearness(retrieval.retrieve(task, members, 64)),
                "attacker": combination.single("~attacker"),
            }
            scores = dict(zip(mixtures, local.scores(list(mixtures.values())), strict=True))
            row = {"target": target}
            for name, mixture in mixtures.items():
                weights = descended(blueprint, blueprint.reference, whole, everything, mixture)
                row[name] = before_and_after(blueprint, blueprint.reference, weights, episode, 0).before
                row[f"{name}_growth"] = float(np.mean(scores[name].errors) - np.mean(scores["seed"].errors))
            rows.append(row)
    of = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "target"}
    for who in ("honest", "attacker"):
        print(who, "growth", np.quantile(of[f"{who}_growth"], [0, 0.5, 0.9, 0.95, 1]).round(4).tolist())
    print("limit  honest pool: with - without, points   attacked: accuracy with the guard (without, seed)")
    for limit in (0.01, 0.02, 0.05, 0.1, 0.2):
        kept = {who: np.where(of[f"{who}_growth"] > limit, of["seed"], of[who]) for who in ("honest", "attacker")}
        cost = 100 * (kept["honest"] - of["honest"]).mean()
        means = [float(accuracies.mean()) for accuracies in (kept["attacker"], of["attacker"], of["seed"])]
        print("{:5}  {:+.2f}   {:.3f} ({:.3f}, {:.3f})".format(limit, cost, *means))
    (options.out / "one_image.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
