"""A store of weights in an S3 bucket, with whole copies in a local folder, which are what workers map.

    s3://BUCKET/PREFIX?endpoint=URL&region=NAME      PREFIX/aa/<sha256>, and PREFIX/genepool, which names the pool

An object is durable when its PUT is answered. Credentials come from where all S3 clients look for them:
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's own role. The local copies can be thrown away whenever no
server runs.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from genepool_protocol.trust import digest
from genepool_protocol.trust.digest import is_sha256_hex
from genepool_protocol.wire.errors import InvalidInput, StorageError, Unavailable
from genepool_server import durable

if TYPE_CHECKING:
    from obstore.store import S3Config  # there at no other time

OWNER: Final = "genepool"
"""The object that says whose weights these are."""

_TIMEOUT: Final = timedelta(seconds=60)
_RETRIES: Final = 3
_FIX: Final = "look at `blobs` in genepool.toml, at the AWS_... variables of the environment, and at the store itself"


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a store is: the parts of its URL."""

    bucket: str
    prefix: str
    endpoint: str
    region: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Of `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`; what is left out comes from the environment.

        Raises:
            InvalidInput: OPTION_INVALID.
        """
        try:
            parts = urlsplit(url)
            given = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
            endpoint = urlsplit(given.get("endpoint", ""))
        except ValueError:
            raise _not_s3("is not an address") from None  # its text repeats the address
        if parts.scheme != "s3" or not parts.netloc or set(given) - {"endpoint", "region"} or parts.fragment:
            raise _not_s3("is not one of S3")
        if "@" in parts.netloc or "@" in endpoint.netloc:
            raise _not_s3("holds credentials: they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        if given.get("endpoint") and (endpoint.scheme not in ("http", "https") or not endpoint.netloc):
            raise _not_s3("has an endpoint that is not one of HTTP")
        return cls(parts.netloc, parts.path.strip("/"), given.get("endpoint", ""), given.get("region", ""))


def _not_s3(why: str) -> InvalidInput:
    return InvalidInput(
        "OPTION_INVALID",
        f"the address of the weights {why}",
        "write for instance s3://bucket/pool, or s3://bucket/pool?endpoint=https://minio.example:9000",
    )


class S3Blobs:
    """See `blobs.Blobs`. Thread-safe.

    Args:
        url: see `BucketAddress`.
        cache: folder of the local copies; made when the first one is.

    Raises:
        InvalidInput: OPTION_INVALID.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._address = BucketAddress.parse(url)
        self._cache = cache
        self._whole: set[str] = set()
        self._lock = threading.Lock()
        settings: S3Config = {"checksum_algorithm": "SHA256"}  # the store then refuses what was damaged on the way
        if self._address.endpoint:
            settings["endpoint"] = self._address.endpoint
        if self._address.region:
            settings["region"] = self._address.region
        with self._translated():
            self._store = S3Store(
                self._address.bucket,
                prefix=self._address.prefix or None,
                config=settings,
                client_options={"timeout": _TIMEOUT, "allow_http": self._address.endpoint.startswith("http://")},
                retry_config={"max_retries": _RETRIES, "retry_timeout": _TIMEOUT},
            )

    @property
    def name(self) -> str:
        """For sentences."""
        return f"the store s3://{self._address.bucket}/{self._address.prefix}"

    def create(self, owner: str) -> None:
        """See `Blobs.create`."""
        try:
            with self._translated():
                outcome = obstore.put(self._store, OWNER, owner.encode(), mode="create")
        except AlreadyExistsError as exc:
            raise InvalidInput(
                "PATH_NOT_EMPTY", f"{self.name} holds the weights of a pool already", "choose another prefix"
            ) from exc
        try:
            self._require_erasable(outcome.get("version"))
        except InvalidInput:
            self.discard()
            raise

    def discard(self) -> None:
        """See `Blobs.discard`."""
        for sha256 in list(self.digests()):
            self.erase(sha256)
        with self._translated():
            obstore.delete(self._store, OWNER)

    def require(self, owner: str) -> None:
        """See `Blobs.require`."""
        present = self._read(OWNER)
        if present != owner.encode():
            why = "belongs to no pool" if present is None else "holds the weights of another pool"
            raise InvalidInput("CONFIG_INVALID", f"{self.name} {why}", "put `blobs` in genepool.toml back")
        with self._translated():
            self._require_erasable(obstore.head(self._store, OWNER).get("version"))

    def _require_erasable(self, version: str | None) -> None:
        if version not in (None, "null"):  # null: versions were kept once and are no more
            raise InvalidInput(
                "CONFIG_INVALID",
                f"the bucket of {self.name} keeps old versions, so nothing that is withdrawn would be gone",
                "switch versioning off, or choose another bucket",
            )

    def publish(self, source: Path, sha256: str) -> None:
        """See `Blobs.publish`."""
        target = self.path(sha256)
        if not source.is_file():
            if not self.holds(sha256):
                raise StorageError("DISK_FAILED", f"there is no file {source.name} to be stored", "upload it again")
            return
        with durable.translated(source):
            raw = source.read_bytes()
        with self._translated():
            obstore.put(self._store, _key(sha256), raw, use_multipart=False)
        if source != target:
            self._folders(target)
            durable.publish(source, target)
        self._whole.add(sha256)

    def path(self, sha256: str) -> Path:
        """See `Blobs.path`."""
        return self._cache / sha256[:2] / sha256

    def local(self, sha256: str) -> Path:
        """See `Blobs.local`."""
        target = self.path(sha256)
        if target.is_file():
            if sha256 in self._whole:
                return target
            with durable.translated(target):
                whole = digest.sha256_file(target) == sha256
        else:
            whole = False
        if not whole:
            self._fetch(sha256, target)
        self._whole.add(sha256)
        return target

    def _fetch(self, sha256: str, target: Path) -> None:
        raw = self._read(_key(sha256))
        if raw is None or digest.sha256_hex(raw) != sha256:
            what = "is missing from" if raw is None else "is damaged in"
            raise StorageError("BLOB_CORRUPT", f"the file {sha256[:16]} {what} {self.name}", "run genepool-server fsck")
        with self._lock:
            self._folders(target)
            durable.write(target, raw)

    def measure(self, sha256: str) -> tuple[int, str] | None:
        """See `Blobs.measure`."""
        raw = self._read(_key(sha256))
        return None if raw is None else (len(raw), digest.sha256_hex(raw))

    def holds(self, sha256: str) -> bool:
        """See `Blobs.holds`."""
        try:
            with self._translated():
                obstore.head(self._store, _key(sha256))
        except FileNotFoundError:
            return False
        return True

    def erase(self, sha256: str) -> None:
        """See `Blobs.erase`."""
        self._whole.discard(sha256)
        durable.wipe(self.path(sha256))
        try:
            with self._translated():
                obstore.delete(self._store, _key(sha256))
        except FileNotFoundError:
            return

    def digests(self) -> Iterator[str]:
        """See `Blobs.digests`."""
        with self._translated():
            for page in obstore.list(self._store):
                for listed in page:
                    folder, _, name = listed["path"].rpartition("/")
                    if is_sha256_hex(name) and folder == name[:2]:
                        yield name

    def _read(self, key: str) -> bytes | None:
        try:
            with self._translated():
                return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None

    def _folders(self, target: Path) -> None:
        for folder in (self._cache, target.parent):
            if not folder.is_dir():
                durable.mkdir(folder)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, AlreadyExistsError) as exc:
            if "NoSuchBucket" not in str(exc):
                raise
            raise Unavailable("STORE_UNAVAILABLE", f"there is no bucket for {self.name}", _FIX) from None
        except (BaseError, OSError, ValueError) as exc:
            what = str(exc).split("\n", 1)[0][:300]  # the rest is for who debugs the library
            raise Unavailable("STORE_UNAVAILABLE", f"{self.name} does not answer: {what}", _FIX) from None


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"
