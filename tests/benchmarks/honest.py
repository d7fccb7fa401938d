"""The sample pack's six sites as an honest pool, trained once and kept: what attacks are measured against."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genepool_client.pictures.images import ImageSet, load_images
from genepool_client.simulate import partition
from genepool_client.training import ancestry, condense
from genepool_client.training import privacy as site_privacy
from genepool_protocol.learngene import algebra, expansion, privacy
from genepool_protocol.learngene.blueprint import Blueprint, bundled_folder, parse_blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.selection import embedding, net

Delta = npt.NDArray[np.float16]
Numbers = npt.NDArray[np.float64]

TARGETS = {  # a task of the pack -> the site that holds other classes of its kind
    "animals-other": "animals",
    "digits-5-9": "digits",
    "letters-n-z": "letters",
    "shoes-and-bags": "clothing",
    "textures-other": "textures",
}


@dataclass(frozen=True)
class Family:
    """The bundled blueprint with its seed."""

    blueprint: Blueprint
    seed_path: Path
    gene: dict[str, npt.NDArray[np.float32]] = field(repr=False)

    @property
    def seed(self) -> net.Weights:
        """The seed's gene as tensors."""
        return net.as_tensors(self.gene)

    def vectors(self, images: ImageSet) -> Numbers:
        """What a domain embedding is the mean of: a row an image, shape (N, embedding width)."""
        size, blueprint = self.blueprint.key.size(), self.blueprint
        weights = embedding.seed_weights(blueprint, self.seed)
        vectors: Numbers = embedding.standard(blueprint, net.embed(blueprint, size, weights, images.pixels)).numpy()
        return vectors

    def sigma(self, images: int) -> float:
        """The noise of a site of so many images, with the default budget."""
        clip = float(self.blueprint.embedding_frame.clip)
        return float(site_privacy.sigma_of(clip, images, privacy.EPSILON, privacy.DELTA))


def family(name: str = "nano-32") -> Family:
    """A bundled blueprint."""
    folder = bundled_folder(name)
    gene = {key: array.astype(np.float32) for key, array in TensorFile(folder / "seed.safetensors").all().items()}
    blueprint = parse_blueprint((folder / "blueprint.json").read_bytes())
    return Family(blueprint, folder / "seed.safetensors", gene)


def pack(out: Path, blueprint: Blueprint) -> tuple[dict[str, ImageSet], dict[str, ImageSet]]:
    """The images of the six sites, and of the tasks that no site has seen, by name."""
    out.mkdir(parents=True, exist_ok=True)
    played = partition.samples(out / "pack", 6)
    sites = {site.name: load_images(str(site.folder), blueprint.image) for site in played.sites}
    return sites, {folder.name: load_images(str(folder), blueprint.image) for folder in played.tasks}


def deltas(family: Family, sites: dict[str, ImageSet], out: Path, steps: int = 0) -> dict[str, Delta]:
    """The learngene of each site, flat and as it is sent; kept in `out`, so that a run goes on.

    Args:
        family: the blueprint with its seed.
        sites: their images.
        out: an existing folder.
        steps: of an ancestry model; 0: the recipe's own.
    """
    learngenes = {}
    for name, images in sites.items():
        path = out / f"{name}-{steps}.npy"
        if not path.exists():
            np.save(path, train(family, images, steps))
        learngenes[name] = np.load(path)
    return learngenes


def train(family: Family, images: ImageSet, steps: int = 0) -> Delta:
    """A site's whole way at home."""
    size = len(images.labels), len(images.classes)
    long, short = ancestry.default_recipe(*size), condense.default_recipe(*size)
    if steps:
        share = steps / long.steps
        long, short = (type(recipe)(steps=max(2, round(share * recipe.steps))) for recipe in (long, short))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        old = ancestry.train_ancestry(
            family.blueprint, family.gene, images, work, recipe=long, progress=lambda *_: None
        )
        small = condense.condense(
            family.blueprint, family.gene, images, old.weights, work, recipe=short, progress=lambda *_: None
        )
    layout = expansion.gene_layout(family.blueprint, family.blueprint.components)
    return algebra.flatten(layout, small.delta).astype(np.float16)
