"""What a command of a site works with, each part derived once and handed on: blueprint, seed, images, recipes."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from genepool_client.pictures.distinct import distinct
from genepool_client.pictures.images import ImageSet, load_images
from genepool_client.site.folder import SiteFolder
from genepool_client.training.recipe import TrainRecipe, suited
from genepool_client.transport import blueprints
from genepool_client.transport.channel import Connection
from genepool_client.transport.user_folders import default_cache
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.progress import Progress
from genepool_protocol.wire.errors import InvalidInput, Refused


@dataclass(frozen=True, slots=True)
class Settings:
    """How the steps run.

    Attributes:
        data: overrides the config's data; empty: the config's.
        steps: of the ancestry model, condensing in proportion; 0: the config's, or by the number of images.
        device: one of `DEVICES`.
    """

    data: str = ""
    steps: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class SiteBlueprint:
    """The blueprint that a site was set up with, and its seed; read and hashed when first asked for, and once.

    Asking raises SEED_MISMATCH, where the pool has another blueprint under that name than at init, and what
    `Connection.blueprint` raises, where this machine's cache does not have it.

    Attributes:
        site: whose.
    """

    site: SiteFolder

    @property
    def blueprint(self) -> Blueprint:
        """From this machine's cache, or from the pool."""
        return self._opened[0]

    @property
    def seed(self) -> TensorFile:
        """Its verified seed."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[Blueprint, TensorFile]:
        config = self.site.config
        pinned = config.blueprint_sha256.removeprefix("sha256:")
        cached = blueprints.read(default_cache(), pinned)
        if cached is not None:
            return cached
        with Connection(config.anchors, trust=self.site.trust) as connection:
            blueprint, seed = connection.blueprint(config.blueprint)
        if blueprint.sha256 != pinned:
            raise Refused(
                "SEED_MISMATCH",
                f"the pool's blueprint {config.blueprint} is not the one that {self.site.path} was set up with",
                "make a new site folder with genepool site init",
            )
        return blueprint, TensorFile(seed)


@dataclass(frozen=True, slots=True)
class Materials:
    """What the steps of a training work with.

    Attributes:
        site: whose.
        blueprint: the family of nets.
        seed: what they start from.
        images: what they are trained on.
        training: how to train the ancestry model.
        condensing: how to condense it.
        steps: of the ancestry model, as somebody asked for them; 0: nobody did.
    """

    site: SiteFolder
    blueprint: Blueprint
    seed: TensorFile
    images: ImageSet
    training: TrainRecipe
    condensing: TrainRecipe
    steps: int

    @classmethod
    def read(cls, source: SiteBlueprint, settings: Settings, progress: Progress) -> Self:
        """Read the images and find the recipes that suit them.

        Args:
            source: the site, with its blueprint.
            settings: how the steps run.
            progress: told of the images.

        Raises:
            InvalidInput: OPTION_INVALID, no data was ever given, or there is no such device; as `load_images`.
            GenepoolError: as `SiteBlueprint`.
        """
        from genepool_client.training.device import resolve_device

        config = source.site.config
        data = settings.data or config.data
        if not data:
            raise InvalidInput("OPTION_INVALID", f"{source.site.path} has no data yet", "give it with --data PATH")
        blueprint, folder = source.blueprint, Path(config.data_dir) if config.data_dir else None
        images = distinct(
            load_images(data, blueprint.image, folder, progress, groups=config.groups, intensity=config.intensity)
        )
        asked = settings.steps or config.steps
        training, condensing = _recipes(blueprint, images, asked, resolve_device(settings.device))
        return cls(source.site, blueprint, source.seed, images, training, condensing, asked)


def _recipes(blueprint: Blueprint, images: ImageSet, asked: int, device: str) -> tuple[TrainRecipe, TrainRecipe]:
    """How to train on these images and how to condense, which takes its steps in proportion."""
    from genepool_client.training import ancestry, condense

    size = len(images.labels), len(images.classes)
    train, shrink = (suited(blueprint, make(*size)) for make in (ancestry.default_recipe, condense.default_recipe))
    steps = asked or train.steps
    shorter = max(1, round(shrink.steps * steps / train.steps))
    return replace(train, steps=steps, device=device), replace(shrink, steps=shorter, device=device)
