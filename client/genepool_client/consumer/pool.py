"""`Pool`: what a program asks a pool for. Selection, download, verification and loading in one object.

model = Pool("pool.json").descend(support="my_images/", max_params="1M")     # a timm VisionTransformer
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from genepool_client.consumer.descendant import download
from genepool_client.consumer.descendant.download import Wanted
from genepool_client.consumer.descendant.staging import Staging, check_free
from genepool_client.consumer.descendant.verify import Descendant, verify
from genepool_client.consumer.select import support as supports
from genepool_client.consumer.select.selection import Mode, Selection
from genepool_client.consumer.select.support import Support
from genepool_client.transport import known_pools, log_memory
from genepool_client.transport.blueprints import only
from genepool_client.transport.channel import Connection
from genepool_client.transport.logview import fetch_from, head_of
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Budget, Size, parse_amount
from genepool_protocol.machine import variables
from genepool_protocol.progress import Progress
from genepool_protocol.selection.combination import Mixture, mixture
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.key_files import TlsIdentity
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import InvalidInput, VerificationError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

SupportLike = str | Path | Support | tuple[Any, Any] | Any
"""A folder or data set name, a `Support`, (pixels, labels), or unlabelled pixels alone."""
WeightsLike = Selection | Mapping[str, int] | Mixture


def _identity(folder: str | Path | None) -> TlsIdentity | None:
    given = folder or variables.IDENTITY.get()
    if not given:
        return None
    from genepool_client.site import credentials
    from genepool_client.site.folder import SiteFolder

    return credentials.ready(SiteFolder(Path(given)))


def _ignore(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A blueprint of the pool with its verified seed."""

    blueprint: Blueprint
    seed: Path


class Pool:
    """A pool, as a consumer sees it. A context manager; safe to leave open.

    Args:
        pool: path of the operator's `pool.json`, or HOST:PORT of a pool whose anchors are remembered.
        anchors: the anchors themselves; then `pool` is only the address to reach it at.
        blueprint: which family, where the pool has several.
        identity: folder of a site with the role consumer, for a pool that does not answer everybody;
            $GENEPOOL_IDENTITY by default.
        cache: folder for blueprints and thin slices; the user's cache by default.
        memory: folder for what was seen of pools' logs and trust roots; in the user's settings by default.
        progress: called with (done, total, note) by everything that takes time.

    Raises:
        InvalidInput: PATH_MISSING, JSON_MALFORMED, FILE_MALFORMED, OPTION_INVALID or KEY_MALFORMED.
    """

    def __init__(
        self,
        pool: str | Path,
        anchors: Anchors | None = None,
        *,
        blueprint: str | None = None,
        identity: str | Path | None = None,
        cache: Path | None = None,
        memory: Path | None = None,
        progress: Progress = _ignore,
    ) -> None:
        self.anchors = known_pools.find(pool) if anchors is None else anchors.model_copy(update={"address": str(pool)})
        self.progress = progress
        self._name = blueprint
        trust = None if memory is None else memory / "trust"
        self._connection = Connection(self.anchors, cache=cache, identity=_identity(identity), trust=trust)
        self._memory = None if memory is None else memory / "logs"
        self._offer: Offer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def trusted(self) -> Trusted:
        """What the pool's trust root says now; see `Connection.trusted`."""
        return self._connection.trusted

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def blueprint(self) -> Blueprint:
        """The family of what this pool gives."""
        return self.offer().blueprint

    def offer(self) -> Offer:
        """The blueprint and its seed, fetched and verified once.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
            InvalidInput: OPTION_INVALID, the pool has several blueprints and none was named.
            GenepoolError: as `Connection.capabilities`.
        """
        if self._offer is None:
            name = self._name or only(self._connection.capabilities(), self.anchors.address, "name one of them")
            self._offer = Offer(*self._connection.blueprint(name))
        return self._offer

    def select(self, support: SupportLike, mode: Mode = "private", licenses: Sequence[str] = ()) -> Selection:
        """Which learngenes fit the task.

        Args:
            support: a folder of class folders, a flat folder, a data set's name, (pixels, labels), or pixels.
            mode: "private" computes here; "remote" sends the pixels to the pool.
            licenses: SPDX names that may take part; empty: all.

        Raises:
            Refused: POOL_EMPTY.
            InvalidInput: what is wrong with the support set.
            GenepoolError: as `Connection.stream`.
        """
        return self._select(self.support(support), mode, licenses)

    def support(self, given: SupportLike, *, groups: bool = False, intensity: str = "") -> Support:
        """The support set in the pool's size.

        Args:
            given: a folder of class folders, a flat folder, a data set's name, (pixels, labels), or pixels.
            groups: whether folders in the class folders are groups of images.
            intensity: what is black and white in images deeper than a byte: "LOW,HIGH" or "measured".

        Raises:
            InvalidInput: see `consumer.support.load`.
        """
        if isinstance(given, Support):
            return given
        if isinstance(given, str | Path):
            return supports.load(given, self.blueprint, progress=self.progress, groups=groups, intensity=intensity)
        pixels, labels = given if isinstance(given, tuple) else (given, None)
        return supports.of_arrays(self.blueprint, pixels, labels)

    def descend(
        self,
        support: SupportLike | None = None,
        size: Size | tuple[int, int] | str | None = None,
        max_params: int | str | None = None,
        max_bytes: int | str | None = None,
        *,
        mode: Mode = "private",
        weights: WeightsLike | None = None,
        licenses: Sequence[str] = (),
        out: str | Path | None = None,
    ) -> "VisionTransformer":
        """A verified descendant as a timm model in eval mode.

        Args:
            support: the task; without it and without `weights`, the seed itself descends.
            size: depth and heads; the blueprint's reference size when no limit is given either.
            max_params: largest number of parameters, for instance "1M".
            max_bytes: largest model.safetensors, for instance "2MiB".
            mode: of the selection.
            weights: an earlier selection, or weights in thousandths by contribution id; nothing is selected then.
            licenses: SPDX names that may take part; empty: all.
            out: a folder to keep it in; nothing is kept otherwise.

        Returns:
            The model, its lineage as the attribute `genepool`. With a labelled support set it has the closed-form head;
            otherwise it answers pooled features.

        Raises:
            InvalidInput: SIZE_OUTSIDE_BLUEPRINT, BUDGET_TOO_SMALL, OPTION_INVALID, PATH_NOT_EMPTY, or as `support`.
            VerificationError: see `verify`; LOG_FORK or WITNESSES_MISSING; the folder does not appear then.
            Refused: POOL_EMPTY or CONTRIBUTION_NOT_ACTIVE.
            StorageError: DISK_FULL or DISK_FAILED.
            GenepoolError: as `Connection.stream`.
        """
        from genepool_client.consumer.descendant.load import load

        budget = self.budget(size, max_params, max_bytes)
        support_set = None if support is None else self.support(support)
        if weights is None:
            weights = () if support_set is None else self._select(support_set, mode, licenses)
        with tempfile.TemporaryDirectory(prefix="genepool-") as scratch:
            folder = Path(scratch) / "descendant" if out is None else Path(out)
            return load(self.write(folder, budget, weights, support_set))

    def write(self, out: Path, budget: Budget, weights: WeightsLike, support: Support | None = None) -> Descendant:
        """A verified descendant as a folder; it appears under its name when it is whole and verified.

        Args:
            out: must not exist, or be empty.
            budget: size or limit.
            weights: what it is made from.
            support: a labelled one puts the closed-form head beside the model.

        Raises:
            GenepoolError: as `descend`.
        """
        check_free(out)
        request = Wanted(self.blueprint, _mixture(weights), budget)
        with Staging(out, {"origin": self.trusted.origin, **request.as_json()}) as staging:
            verified = self._obtain(request, staging)
            self._follow(verified)
            if support is not None and support.labels is not None:
                _write_head(verified, support)
                verified = replace(verified, classes=support.classes)
            staging.publish()
        return replace(verified, folder=out)

    def budget(
        self,
        size: Size | tuple[int, int] | str | None,
        max_params: int | str | None,
        max_bytes: int | str | None,
    ) -> Budget:
        """The budget that a caller means, if the blueprint has anything that fits it.

        Raises:
            InvalidInput: OPTION_INVALID, SIZE_OUTSIDE_BLUEPRINT or BUDGET_TOO_SMALL.
        """
        if size is None and max_params is None and max_bytes is None:
            size = self.blueprint.reference
        if isinstance(size, str):
            size = Size.parse(size)
        budget = Budget(
            size=Size(*size) if isinstance(size, tuple) else size,
            max_params=None if max_params is None else parse_amount(max_params),
            max_bytes=None if max_bytes is None else parse_amount(max_bytes),
        )
        self.blueprint.resolve(budget)
        return budget

    def _select(self, support: Support, mode: Mode, licenses: Sequence[str]) -> Selection:
        offer = self.offer()

        if mode == "remote":
            from genepool_client.consumer.select import remote

            return remote.select(self._connection, offer.blueprint, support, licenses, self.progress)
        if mode != "private":
            raise InvalidInput("OPTION_INVALID", f"the mode {mode!r} does not exist", "choose private or remote")
        from genepool_client.consumer.select import private

        return private.select(self._connection, offer.blueprint, offer.seed, support, licenses, self.progress)

    def _obtain(self, wanted: Wanted, staging: Staging) -> Descendant:
        resumed = download.fetch(self._connection, wanted, staging.folder, self.progress)
        try:
            return self._check(wanted, staging.folder)
        except VerificationError:
            if not resumed:
                raise
        # an earlier part may have been damaged on disk: that is not the pool's fault, so once more from the start
        staging.clear()
        download.fetch(self._connection, wanted, staging.folder, self.progress)
        return self._check(wanted, staging.folder)

    def _follow(self, verified: Descendant) -> None:
        """Hold the receipts against the log as this user has seen it, and against its witnesses."""
        view = log_memory.view(self.trusted, self.anchors, fetch_from(self._connection), self._memory)
        head = head_of(self._connection, view)
        for item, seen in zip(verified.lineage.dependencies, verified.heads, strict=True):
            if head is None or (self.trusted.quorum and item.log_index >= head.size):
                raise VerificationError(
                    "WITNESSES_MISSING" if head else "LOG_FORK",
                    f"the log that the pool shows does not cover the contribution {item.contribution_id[:16]} yet",
                    "try again when the witnesses have seen it",
                )
            view.confirm(head, seen)

    def _check(self, wanted: Wanted, folder: Path) -> Descendant:
        verified = verify(folder, self.trusted)
        lineage = verified.lineage
        members = tuple((item.contribution_id, item.milli) for item in lineage.dependencies)
        if members != wanted.weights or lineage.blueprint != wanted.blueprint.sha256:
            raise VerificationError(
                "LINEAGE_INVALID", "the pool made the descendant from something else than it was asked for"
            )
        wanted.check_size(lineage.size, (folder / descendant.MODEL_FILE).stat().st_size)
        return verified


def _mixture(weights: WeightsLike) -> Mixture:
    if isinstance(weights, Selection):
        return weights.weights
    return mixture(dict(weights))


def _write_head(verified: Descendant, support: Support) -> None:
    from genepool_client.consumer.descendant import head_file
    from genepool_client.consumer.descendant.head import fit_head
    from genepool_client.consumer.descendant.weights import read_weights
    from genepool_protocol.selection import net

    if support.labels is None:
        return
    features = net.embed(verified.blueprint, verified.lineage.size, read_weights(verified), support.pixels)
    fitted = fit_head(features.numpy(), support.labels)
    head_file.write(verified.folder, fitted, support.classes, support.pixels, support.intensity)
