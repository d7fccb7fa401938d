"""From domains to trained sites: what each training is, before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genepool_client.pictures.images import ImageSet, image_set
from genepool_lab.benchmark import method
from genepool_lab.benchmark.cells import Shown
from genepool_lab.benchmark.domains import Domain, subset
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.plan import BenchmarkPlan
from genepool_lab.benchmark.tasks import Task, episodes
from genepool_lab.benchmark.trainings import Train, put_images


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody.

    Attributes:
        sites: by training (other random numbers), then by domain, in the order of the domains.
        joint: one training on the images of all sites, with all their steps.
        irrelevant: sites of bystanders' classes, in the order in which they join.
        tasks: in order.
        shown: every episode of every task.
    """

    sites: list[dict[str, Train]]
    joint: Train
    irrelevant: list[Train]
    tasks: list[Task]
    shown: dict[str, list[Shown]]

    def trained(self, draw: int) -> dict[str, Train]:
        """The sites that a draw looks at."""
        return self.sites[draw % len(self.sites)]


def cast(lab: Lab, domains: Sequence[Domain], tasks: Sequence[Task], plan: BenchmarkPlan) -> Cast:
    """Who trains on what; images are put into the store."""
    own = [(domain.name, domain.site) for domain in domains if domain.role == "site" and domain.site is not None]
    sites = [
        {name: _train(lab, name, images, plan, rng=rng, keep=rng == 0) for name, images in own}
        for rng in range(plan.trainings)
    ]
    banks = {d.name: put_images(lab.store, d.unseen) for d in domains if d.unseen is not None}
    shown = {
        task.name: [
            Shown(episode, tuple((name, banks[name]) for name in task.domains))
            for episode in episodes(task, domains, plan)
        ]
        for task in tasks
    }
    return Cast(sites, _joint(lab, own, sites[0]), _irrelevant(lab, domains, plan), list(tasks), shown)


def _train(
    lab: Lab, name: str, images: ImageSet, plan: BenchmarkPlan, *, rng: int = 0, share: float = 1.0, keep: bool = True
) -> Train:
    train, shrink = method.recipes(lab.blueprint, images, plan.steps, rng, share)
    return Train(lab.blueprint.sha256, name, put_images(lab.store, images), len(images.labels), train, shrink, keep)


def _joint(lab: Lab, own: Sequence[tuple[str, ImageSet]], sites: dict[str, Train]) -> Train:
    """One training on everything, for as many steps as all sites together: equal epochs."""
    pixels, labels = [], []
    classes: list[str] = []
    for name, images in own:
        labels.append(images.labels + len(classes))
        pixels.append(images.pixels)
        classes += [f"{name}/{label}" for label in images.classes]
    union = image_set(np.concatenate(pixels), np.concatenate(labels), classes)
    first = next(iter(sites.values()))
    train = replace(first.train, steps=sum(site.train.steps for site in sites.values()))
    shrink = replace(first.shrink, steps=sum(site.shrink.steps for site in sites.values()))
    return Train(
        first.blueprint, "all sites' images", put_images(lab.store, union), len(union.labels), train, shrink, keep=False
    )


def _irrelevant(lab: Lab, domains: Sequence[Domain], plan: BenchmarkPlan) -> list[Train]:
    """Sites that hold five classes of a bystander each; those beyond `fully_trained` take a tenth of the steps."""
    bystanders = [(domain.name, domain.site) for domain in domains if domain.role == "bystander" and domain.site]
    trainings = []
    for place in range(max(plan.irrelevant) if bystanders else 0):
        name, images = bystanders[place % len(bystanders)]
        rng = np.random.default_rng([7, place])
        classes = np.sort(rng.permutation(len(images.classes))[:5])
        share = 1.0 if place < plan.fully_trained else 0.1
        part = subset(images, classes)
        trainings.append(_train(lab, f"{name}-{place:03d}", part, plan, rng=place, share=share, keep=False))
    return trainings
