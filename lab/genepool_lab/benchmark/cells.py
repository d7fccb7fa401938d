"""What is looked at, selected and measured: each cell names all that it depends on and runs in any process."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from genepool_client.consumer import finetune
from genepool_client.consumer.descendant import head, load
from genepool_client.consumer.finetune import FinetuneRecipe
from genepool_client.simulate import accuracy, start_weights
from genepool_client.simulate.episodes import Episode
from genepool_lab.benchmark import gradient_free, method, starts
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.starts import Start
from genepool_lab.benchmark.store import Arrays, Store, code_digest, content_key
from genepool_lab.benchmark.tasks import EpisodePlaces
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import discriminant, net, scoring
from genepool_protocol.selection.support import can_leave_out

_Value = TypeVar("_Value", bound=np.generic)

FINETUNING: Final = FinetuneRecipe()
"""What `genepool finetune` does when it is not told otherwise; the plan says for how many epochs."""
_START_CODE: Final = code_digest(starts, start_weights)
_PROBE_CODE: Final = code_digest(accuracy, head, discriminant)
_FINETUNING_CODE: Final = code_digest(finetune, load)


@dataclass(frozen=True)
class Features:
    """Features of a domain's unseen images from one start at one size: array `x`, float32, shape (N, width)."""

    blueprint: str
    start: Start
    size: Size
    bank: str

    @cached_property
    def key(self) -> str:
        return content_key(
            "features",
            blueprint=self.blueprint,
            start=self.start,
            size=str(self.size),
            bank=self.bank,
            code=[method.NET_CODE, _START_CODE],
        )

    @property
    def cost(self) -> float:
        return 0.2 * self.size.depth

    def run(self, lab: Lab) -> None:
        weights = starts.weights_of(lab, self.start, self.size)
        x = net.embed(lab.blueprint, self.size, weights, _arrays(lab.store, self.bank)["pixels"])
        lab.store.put(self.key, {}, {"x": x.numpy()})

    def __str__(self) -> str:
        return f"{self.start.kind} {self.size}"


@dataclass(frozen=True)
class Shown:
    """An episode with the digests of the images that it points into."""

    episode: EpisodePlaces
    banks: tuple[tuple[str, str], ...]

    @cached_property
    def key(self) -> str:
        """Of the images and labels; the same images in the same order are the same episode."""
        episode, banks = self.episode, dict(self.banks)
        return content_key(
            "episode",
            support=[(banks[name], i) for name, i in episode.support],
            support_labels=episode.support_labels,
            test=[(banks[name], i) for name, i in episode.test],
            test_labels=episode.test_labels,
            draw=episode.draw,
        )

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Of the support set."""
        return np.array(self.episode.support_labels, dtype=np.int64)

    def gather(
        self, places: Sequence[tuple[str, int]], arrays: Mapping[str, npt.NDArray[_Value]]
    ) -> npt.NDArray[_Value]:
        """Rows of the domains' arrays."""
        return np.stack([arrays[name][i] for name, i in places])

    def images(self, store: Store) -> Episode:
        """The images themselves."""
        pixels = {name: _arrays(store, digest)["pixels"] for name, digest in self.banks}
        episode = self.episode
        return Episode(
            episode.task,
            episode.draw,
            self.gather(episode.support, pixels),
            self.labels,
            self.gather(episode.test, pixels),
            np.array(episode.test_labels, dtype=np.int64),
        )

    def features(self, store: Store, start: Start, size: Size, blueprint: str) -> dict[str, npt.NDArray[np.float32]]:
        """Of every image that the episode may point to, by domain; they are in the store."""
        return {name: _features(store, Features(blueprint, start, size, digest).key) for name, digest in self.banks}


@dataclass(frozen=True)
class Probe:
    """Accuracy without fine-tuning of a start whose features are in the store, on many episodes: `accuracy`, a list."""

    blueprint: str
    start: Start
    size: Size
    shown: tuple[Shown, ...] = field(repr=False)

    @cached_property
    def key(self) -> str:
        banks = sorted({bank for shown in self.shown for bank in shown.banks})
        features = [Features(self.blueprint, self.start, self.size, digest).key for _, digest in banks]
        return content_key("probe", features=features, shown=[shown.key for shown in self.shown], code=_PROBE_CODE)

    @property
    def cost(self) -> float:
        return 0.01 * len(self.shown)

    def run(self, lab: Lab) -> None:
        shares = []
        for shown in self.shown:
            arrays, episode = shown.features(lab.store, self.start, self.size, self.blueprint), shown.episode
            fitted = head.fit_head(shown.gather(episode.support, arrays), shown.labels)
            named = (shown.gather(episode.test, arrays) @ fitted.weight.T + fitted.bias).argmax(axis=1)
            shares.append(float((named == np.array(episode.test_labels)).mean()))
        lab.store.put(self.key, {"accuracy": shares})

    def __str__(self) -> str:
        return f"{self.start.kind} {self.size}"


@dataclass(frozen=True)
class Measure:
    """Accuracy of any start on one episode: `accuracy`, by number of epochs of fine-tuning, 0 always among them."""

    blueprint: str
    start: Start
    size: Size
    shown: Shown = field(repr=False)
    epochs: tuple[int, ...] = ()

    @cached_property
    def key(self) -> str:
        return content_key(
            "measure",
            blueprint=self.blueprint,
            start=self.start,
            size=str(self.size),
            shown=self.shown.key,
            epochs=self.epochs,
            recipe=[FINETUNING, _FINETUNING_CODE] if self.epochs else [],
            code=[method.NET_CODE, _START_CODE, _PROBE_CODE],
        )

    @property
    def cost(self) -> float:
        images = len(self.shown.episode.test) * (1 + len(self.epochs)) + 3 * len(self.shown.labels) * sum(self.epochs)
        return 1e-4 * images * self.size.depth * self.size.heads

    def run(self, lab: Lab) -> None:
        weights = starts.weights_of(lab, self.start, self.size)
        recipes = [replace(FINETUNING, epochs=epochs) for epochs in self.epochs]
        shares = accuracy.accuracies(lab.blueprint, self.size, weights, self.shown.images(lab.store), recipes)
        record = {str(epochs): share for epochs, share in zip((0, *self.epochs), shares, strict=True)}
        lab.store.put(self.key, {"accuracy": record})

    def __str__(self) -> str:
        return f"{self.shown.episode.task} {self.size}"


@dataclass(frozen=True)
class PoolMember:
    """A learngene of a pool: whose embedding it carries, and where its delta lies, if elsewhere (random, residual)."""

    source: str
    delta: str = ""

    @property
    def id(self) -> str:
        """As TALS sees it."""
        return self.delta or self.source


Pool = tuple[PoolMember, ...]


@dataclass(frozen=True)
class Select:
    """TALS' answer, and the member whose embedding is nearest: `choice`, `weights`, `reason`, `nearest`, `seconds`."""

    blueprint: str
    pool: Pool = field(repr=False)
    shown: Shown = field(repr=False)

    @cached_property
    def key(self) -> str:
        members = sorted((member.source, member.delta) for member in self.pool)
        return content_key(
            "select",
            blueprint=self.blueprint,
            pool=members,
            shown=self.shown.key,
            code=[method.SELECT_CODE, code_digest(method)],
        )

    @property
    def cost(self) -> float:
        return 2e-3 * min(len(self.pool), 64) * len(self.shown.labels)

    def run(self, lab: Lab) -> None:
        embeddings, deltas = {}, {}
        for member in self.pool:
            source, facts = _arrays(lab.store, member.source), lab.store.record(member.source)
            embeddings[member.id] = Embedding(source["mean"], facts["noise"])
            deltas[member.id] = _arrays(lab.store, member.delta or member.source)["delta"]
        images, labels = self.shown.images(lab.store).support, self.shown.labels
        started = time.process_time()
        selection = method.select(lab, embeddings, deltas, images, labels)
        seconds = time.process_time() - started
        record = {
            "choice": selection.choice,
            "weights": selection.weights,
            "reason": selection.reason,
            "seconds": seconds,
        }
        lab.store.put(self.key, {**record, "nearest": method.nearest(lab, embeddings, images)})

    def __str__(self) -> str:
        return f"{self.shown.episode.task} from {len(self.pool)}"


@dataclass(frozen=True)
class Pick:
    """The one member with the best score on the support set: `logme` and `knn` (None where nothing can be left out)."""

    blueprint: str
    members: tuple[str, ...] = field(repr=False)
    size: Size
    shown: Shown = field(repr=False)

    @cached_property
    def key(self) -> str:
        features = [
            Features(self.blueprint, starts.single(member), self.size, digest).key
            for member in sorted(self.members)
            for _, digest in self.shown.banks
        ]
        return content_key("pick", features=features, shown=self.shown.key, code=code_digest(scoring, discriminant))

    @property
    def cost(self) -> float:
        return 2e-3 * len(self.members)

    def run(self, lab: Lab) -> None:
        scores = {}
        for member in sorted(self.members):
            arrays = self.shown.features(lab.store, starts.single(member), self.size, self.blueprint)
            scores[member] = scoring.score(self.shown.gather(self.shown.episode.support, arrays), self.shown.labels)
        logme = max(scores, key=lambda member: scores[member].logme)
        knn = max(scores, key=lambda member: scores[member].knn)
        lab.store.put(
            self.key,
            {"logme": logme, "knn": knn if can_leave_out(self.shown.labels) else None},
        )

    def __str__(self) -> str:
        return self.shown.episode.task


@dataclass(frozen=True)
class Search:
    """LoraHub-style weights, found without gradients on the support set: `weights`, (member, weight) pairs."""

    blueprint: str
    members: tuple[str, ...] = field(repr=False)
    shown: Shown = field(repr=False)
    evaluations: int

    @cached_property
    def key(self) -> str:
        return content_key(
            "search",
            blueprint=self.blueprint,
            members=sorted(self.members),
            shown=self.shown.key,
            evaluations=self.evaluations,
            code=[method.NET_CODE, code_digest(gradient_free, scoring, discriminant)],
        )

    @property
    def cost(self) -> float:
        return 2e-3 * self.evaluations * len(self.shown.labels)

    def run(self, lab: Lab) -> None:
        names = sorted(self.members)
        deltas = [method.thin_delta(lab, lab.delta(name)) for name in names]
        episode = self.shown.images(lab.store)
        weights = gradient_free.search(
            lab, deltas, episode.support, episode.support_labels, self.evaluations, rng=episode.draw
        )
        lab.store.put(self.key, {"weights": list(zip(names, weights, strict=True))})

    def __str__(self) -> str:
        return self.shown.episode.task


_caches: dict[tuple[str, str], Arrays] = {}
"""Images and learngenes that this process has read: both are needed again and again."""


def _arrays(store: Store, digest: str) -> Arrays:
    if (str(store.root), digest) not in _caches:
        _caches[str(store.root), digest] = store.arrays(digest)
    return _caches[str(store.root), digest]


@lru_cache(maxsize=256)
def _cached_features(root: str, key: str) -> npt.NDArray[np.float32]:
    return Store(Path(root)).arrays(key)["x"]


def _features(store: Store, key: str) -> npt.NDArray[np.float32]:
    return _cached_features(str(store.root), key)
