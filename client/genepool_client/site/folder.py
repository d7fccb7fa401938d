"""A site's folder: one frozen config, its keys, and where everything else lies; all of it 0600 in folders of 0700.

site.json            the config, for people to edit
invite.json          the invitation, until the site has enrolled
keys/                never leaves, see `keyring`
work/                what training makes; nothing of it leaves
outbox/SEQ/          what left, or is about to: learngene.safetensors, manifest.json, model.sig, then receipt.sig
keys.json            every domain embedding that was drawn from the site's images, see `privacy`: never delete it
calls.json           how many calls to the pool were made under `site run`, and how they ended
checkpoint           the last verified checkpoint of the pool's log
trust/               what was verified of the pool's trust root
campaign.json        the Flower campaign that the site entered last
flower/              what Flower's processes leave
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from genepool_client.site.keyring import Keyring
from genepool_client.transport.durable import write_json
from genepool_protocol.learngene import privacy
from genepool_protocol.private_files import close_tree, open_own, private_folder
from genepool_protocol.trust import strict_json
from genepool_protocol.trust.anchors import Anchors, Invite, read_invite
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.documents import Decimal, Document, License, Name, Sha256, first_problem_of_settings
from genepool_protocol.wire.errors import InvalidInput, NotFound, Unavailable
from genepool_protocol.wire.limits import LIMITS

CONFIG_FILE: Final = "site.json"
INVITE_FILE: Final = "invite.json"
_PRIVATE: Final = (
    *(CONFIG_FILE, "work", "outbox", "withdrawals", "keys.json", "checkpoint", "trust"),
    *("fork-evidence", "campaign.json", "flower"),
)


class SiteConfig(Document):
    """What a site is set up with; the descriptions are the reference's."""

    schema_: Literal["genepool.site/v1"] = Field(
        default="genepool.site/v1", alias="schema", description="What the file is, and of which version."
    )
    name: Name = Field(description="Name of the site, as the operator invited it.")
    anchors: Anchors = Field(description="Where the pool is, and what vouches for it: the content of `pool.json`.")
    blueprint: Name = Field(description="Which of the pool's blueprints the site trains.")
    blueprint_sha256: Sha256 = Field(description="Digest of that blueprint.")
    data: str = Field(default="", description="Folder of class folders, or a data set's name; empty until given.")
    groups: bool = Field(
        default=False, description="Whether folders in the class folders are groups of images: patients, slides."
    )
    intensity: str = Field(
        default="",
        description="What is black and white in images deeper than a byte: LOW,HIGH, or measured; empty: as it seems.",
    )
    data_dir: str = Field(default="", description="Where a named data set lies.")
    license: License = Field(default="CC-BY-4.0", description="Terms of the contributions, an SPDX name.")
    steps: int = Field(
        default=0, ge=0, le=1 << 20, description="Training steps of the ancestry model; 0: by the number of images."
    )
    key_epsilon: Decimal = Field(
        default=privacy.EPSILON,
        description="What a domain embedding may spend of the images' privacy, with key_delta.",
    )
    key_delta: Decimal = Field(default=privacy.DELTA, description="See key_epsilon.")
    key_spent: Decimal = Field(
        default="0",
        description="The epsilon that domain embeddings of these images cost before this folder was made.",
    )
    fabs: list[Sha256] = Field(
        default_factory=list, description="Digests of the Flower app bundles that `genepool site run` accepts."
    )


class SiteFolder:
    """An initialised site folder.

    Args:
        path: the folder.

    Raises:
        NotFound: FILE_MISSING, it is no site folder.
        InvalidInput: JSON_MALFORMED or CONFIG_INVALID.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = _read_config(path / CONFIG_FILE)
        self.keys = Keyring(self.path / "keys")

    @property
    def work(self) -> Path:
        """Made on first use."""
        return private_folder(self.path / "work")

    @property
    def outbox(self) -> Path:
        """Made on first use."""
        return private_folder(self.path / "outbox")

    @property
    def checkpoint(self) -> Path:
        """The last verified checkpoint of the pool's log."""
        return self.path / "checkpoint"

    @property
    def drawn(self) -> Path:
        """Every domain embedding that was drawn from the site's images."""
        return self.path / "keys.json"

    @property
    def trust(self) -> Path:
        """What was verified of the pool's trust root."""
        return self.path / "trust"

    def signing_key(self) -> SigningKey:
        """The key that signs learngenes; see `Keyring.signing_key`."""
        return self.keys.signing_key()

    def invite(self) -> Invite | None:
        """The invitation, or None after the site has enrolled."""
        path = self.path / INVITE_FILE
        return read_invite(path) if path.exists() else None

    def change(self, **values: Any) -> None:
        """Set members of the config, in memory and in site.json.

        Raises:
            InvalidInput: CONFIG_INVALID.
        """
        self.config = validated({**self.config.model_dump(by_alias=True), **values}, self.path / CONFIG_FILE)
        write_json(self.path / CONFIG_FILE, self.config.model_dump(by_alias=True))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other genepool processes out of this folder while the block runs.

        Raises:
            Unavailable: FOLDER_IN_USE.
            VerificationError: PATH_FOREIGN, the folder is another user's.
        """
        handle = open_own(self.path / ".lock", os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(handle)
            raise Unavailable(
                "FOLDER_IN_USE", f"another genepool process works in {self.path}", "wait for it to end"
            ) from exc
        try:
            self._close()
            yield
        finally:
            os.close(handle)

    def _close(self) -> None:
        """Close what earlier versions left open; keys that were open are refused, and images left as they are."""
        private_folder(self.path)
        for name in _PRIVATE:
            if (self.path / name).exists():
                close_tree(self.path / name)


def create(path: Path, config: SiteConfig, invite: Invite, passphrase: bytes | None = None) -> SiteFolder:
    """Make a site folder with fresh keys; site.json is written last, so that an unfinished one is no site folder.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
    """
    check_new(path)
    private_folder(path)
    Keyring(path / "keys").create(passphrase)
    write_json(path / INVITE_FILE, invite.model_dump(by_alias=True), 0o600)
    write_json(path / CONFIG_FILE, config.model_dump(by_alias=True))
    return SiteFolder(path)


def check_new(path: Path) -> None:
    """Refuse a place where a site folder cannot be made.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
    """
    if (path / CONFIG_FILE).exists():
        raise InvalidInput("PATH_NOT_EMPTY", f"{path} is a site folder already", "choose another folder")
    if path.exists() and (
        not path.is_dir() or any(entry.name not in {"keys", INVITE_FILE} for entry in path.iterdir())
    ):
        raise InvalidInput("PATH_NOT_EMPTY", f"{path} is not an empty folder", "choose a new or empty folder")


def _read_config(path: Path) -> SiteConfig:
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise NotFound(
            "FILE_MISSING",
            f"{path.parent} is no site folder: {path.name} {_why(exc)}",
            "make one with: genepool site init",
        ) from exc
    return validated(strict_json.loads(strict_json.edited(raw), max_bytes=LIMITS.bundle_bytes, what=str(path)), path)


def _why(exc: OSError) -> str:
    return (
        "is missing" if isinstance(exc, FileNotFoundError | NotADirectoryError) else f"cannot be read ({exc.strerror})"
    )


def validated(value: Any, path: Path) -> SiteConfig:
    """The config in a JSON value; `path` is for the sentence.

    Raises:
        InvalidInput: CONFIG_INVALID.
    """
    try:
        return SiteConfig.model_validate(value)
    except ValidationError as exc:
        why = first_problem_of_settings(exc, SiteConfig)
        raise InvalidInput("CONFIG_INVALID", f"{path} is not valid: {why}", "mend that line") from exc
