"""What an upload was begun with, as the spool keeps it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genepool_protocol.trust import strict_json
from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_protocol.wire.limits import LIMITS

_MAX_BYTES = 2 * (LIMITS.bundle_bytes + LIMITS.manifest_bytes)  # base64, and the rest


@dataclass(frozen=True, slots=True)
class Ticket:
    """The statement of an upload; it was verified when the upload began and is verified again at the commit.

    Attributes:
        upload_id: hex SHA-256 of the signed payload.
        site: whose quota it counts against.
        size: bytes that must arrive.
        bundle: model.sig.
        manifest: manifest.json.
    """

    upload_id: str
    site: str
    size: int
    bundle: bytes
    manifest: bytes

    def encode(self) -> bytes:
        """The file's content."""
        value = {
            "upload_id": self.upload_id,
            "site": self.site,
            "size": self.size,
            "bundle": b64(self.bundle),
            "manifest": b64(self.manifest),
        }
        return strict_json.canonical(value)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The ticket in a file.

        Raises:
            InvalidInput: FILE_MALFORMED, it is not what `encode` made.
        """
        try:
            value = strict_json.loads_canonical(path.read_bytes(), max_bytes=_MAX_BYTES, what=path.name)
            bundle, manifest = unb64(value["bundle"], "bundle"), unb64(value["manifest"], "manifest")
            ticket = cls(value["upload_id"], value["site"], value["size"], bundle, manifest)
            if path.stem == ticket.upload_id:
                return ticket
        except (OSError, GenepoolError, KeyError, TypeError) as exc:
            raise _damaged(path) from exc
        raise _damaged(path)


def _damaged(path: Path) -> InvalidInput:
    return InvalidInput("FILE_MALFORMED", f"the unfinished upload {path} is damaged", "remove the file")
