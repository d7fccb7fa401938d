"""What is trained: each training names all that it depends on and leaves its result in the store."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genepool_client.pictures.images import ImageSet
from genepool_client.training.recipe import TrainRecipe
from genepool_lab.benchmark import method
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.store import Store, code_digest, content_key
from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net


@dataclass(frozen=True)
class Train:
    """A site's whole way to a learngene: arrays `delta`, `mean`, `std`.

    Attributes:
        blueprint: its digest.
        name: of the site.
        data: digest of its images, which are in the store.
        images: how many.
        train: of the ancestry model.
        shrink: of condensing.
        keep: whether the ancestry model is needed later, and kept.
    """

    blueprint: str
    name: str
    data: str
    images: int
    train: TrainRecipe
    shrink: TrainRecipe
    keep: bool = True

    @cached_property
    def key(self) -> str:
        return content_key(
            "learngene",
            blueprint=self.blueprint,
            data=self.data,
            recipes=[self.train, self.shrink],
            code=method.TRAIN_CODE,
        )

    @property
    def ancestry_key(self) -> str:
        """Where the ancestry model's weights lie."""
        return content_key("ancestry", of=self.key)

    @property
    def cost(self) -> float:
        return 0.2 * (self.train.steps + self.shrink.steps)

    def run(self, lab: Lab) -> None:
        result = method.make_learngene(
            lab, image_set_of(lab.store, self.data), self.train, self.shrink, lab.store.work(self.key)
        )
        if self.keep:
            old = {name: tensor.numpy() for name, tensor in result.ancestry.items()}
            lab.store.put(self.ancestry_key, {}, old)
        facts = {**result.facts, "images": self.images, "bytes": result.delta.nbytes, "noise": result.embedding.noise}
        lab.store.put(self.key, facts, {"delta": result.delta, "mean": result.embedding.mean})

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Residual:
    """The paper's likely form: every learngene is condensed on top of the frozen sum of the earlier ones.

    Attributes:
        sites: in their order of arrival, trained.
    """

    sites: tuple[Train, ...]

    @property
    def links(self) -> list[str]:
        """Keys of the residual learngenes, in order."""
        keys, before = [], ""
        for site in self.sites:
            before = content_key("residual", before=before, site=site.key)
            keys.append(before)
        return keys

    @cached_property
    def key(self) -> str:
        return content_key("residual pool", links=self.links)

    @property
    def cost(self) -> float:
        return sum(0.2 * site.shrink.steps for site in self.sites)

    def run(self, lab: Lab) -> None:
        base = lab.seed.copy()
        for site, link in zip(self.sites, self.links, strict=True):
            if not lab.store.has(link):
                images, old = image_set_of(lab.store, site.data), net.as_tensors(lab.store.arrays(site.ancestry_key))
                delta = method.condense_onto(lab, base, images, old, site.shrink, lab.store.work(link))
                lab.store.put(link, {}, {"delta": delta})
            added = lab.delta(link).astype(np.float32)
            base[: added.size] += added
        lab.store.put(self.key, {})

    def __str__(self) -> str:
        return "the sequential pool"


@dataclass(frozen=True)
class Direct:
    """A net of one size, distilled directly from a site's ancestry model on its images: its weights as arrays."""

    site: Train
    size: Size

    @cached_property
    def key(self) -> str:
        return content_key("direct", site=self.site.key, size=str(self.size), code=code_digest(method))

    @property
    def cost(self) -> float:
        return 0.01 * self.site.shrink.steps * self.size.depth

    def run(self, lab: Lab) -> None:
        old = net.as_tensors(lab.store.arrays(self.site.ancestry_key))
        images = image_set_of(lab.store, self.site.data)
        result = method.distil(lab, images, old, self.size, self.site.shrink, lab.store.work(self.key))
        lab.store.put(self.key, {}, {name: tensor.numpy() for name, tensor in result.items()})

    def __str__(self) -> str:
        return f"{self.site.name} at {self.size}"


@dataclass(frozen=True)
class Noise:
    """A learngene of random numbers with the norm of a real one in every tensor."""

    member: str

    @cached_property
    def key(self) -> str:
        return content_key("noise", member=self.member)

    @property
    def cost(self) -> float:
        return 0.1

    def run(self, lab: Lab) -> None:
        real = lab.delta(self.member).astype(np.float32)
        rng = np.random.default_rng(int(self.member[:12], 16))
        parts, start = [], 0
        for shape in expansion.gene_layout(lab.blueprint, lab.blueprint.components).values():
            part = real[start : start + int(np.prod(shape))]
            noise = rng.standard_normal(part.size).astype(np.float32)
            parts.append(noise * (np.linalg.norm(part) / np.linalg.norm(noise)))
            start += part.size
        lab.store.put(self.key, {}, {"delta": np.concatenate(parts).astype(np.float16)})

    def __str__(self) -> str:
        return "random numbers"


def put_images(store: Store, images: ImageSet) -> str:
    """Keep a set of images; returns its digest, which is its key."""
    if not store.has(images.digest):
        store.put(images.digest, {"classes": images.classes}, {"pixels": images.pixels, "labels": images.labels})
    return images.digest


def image_set_of(store: Store, digest: str) -> ImageSet:
    """The set that was kept."""
    arrays = store.arrays(digest)
    return ImageSet(arrays["pixels"], arrays["labels"], store.record(digest)["classes"], digest)
