"""The form of every field of every request: one table, held against each message before a method is begun.

A field that the table does not name may not be in a request: tests/unit/wire/test_forms.py holds it complete.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from google.protobuf.message import Message

from genepool_protocol.wire.errors import GenepoolError, error
from genepool_protocol.wire.limits import LIMITS

_FIX: Final = "write the field as SPEC.md says"


@dataclass(frozen=True, slots=True)
class Form:
    """What a field may hold.

    Attributes:
        pattern: of the whole text; None: any without control characters.
        longest: characters of a text, bytes of bytes.
        most: items of a list; 0: it is no list.
        largest: of a number.
        reason: of the refusal.
        lines: whether a text may have several lines.
    """

    pattern: "re.Pattern[str] | None" = None
    longest: int = 0
    most: int = 0
    largest: int | None = None
    reason: str = "FIELD_MALFORMED"
    lines: bool = False

    def problem(self, value: object) -> str:
        """What is wrong with one item; empty when nothing is."""
        if isinstance(value, str):
            if len(value) > self.longest:
                return f"has more than {self.longest} characters"
            if self.pattern is not None and not self.pattern.fullmatch(value):
                return "is not of its form"
            return "" if _plain(value, lines=self.lines) else "holds a control character"
        if isinstance(value, bytes):
            return f"has more than {self.longest} bytes" if len(value) > self.longest else ""
        if self.largest is not None and isinstance(value, int) and value > self.largest:
            return f"is more than {self.largest}"
        return ""


def _plain(text: str, *, lines: bool) -> bool:
    return not any((ord(mark) < 32 and not (lines and mark == "\n")) or 127 <= ord(mark) < 160 for mark in text)


def _pattern(text: str) -> "re.Pattern[str]":
    return re.compile(text)


def _text(longest: int, *, most: int = 0, reason: str = "FIELD_MALFORMED", lines: bool = False) -> Form:
    return Form(longest=longest, most=most, reason=reason, lines=lines)


def _bytes(longest: int, reason: str = "FIELD_MALFORMED") -> Form:
    return Form(longest=longest, reason=reason)


def _rows(form: Form, *names: str) -> dict[str, Form]:
    return {f"genepool.v1.{name}": form for name in names}


_HEX: Final = _pattern("[0-9a-f]{64}")
_ID: Final = Form(_HEX, 64)
_LATER: Final = Form(_pattern("([0-9a-f]{64})?"), 64)
_NAME: Final = Form(_pattern("[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?"), 63, reason="NAME_INVALID")
_SPDX: Final = Form(_pattern("[A-Za-z0-9.+-]{1,64}"), 64, most=LIMITS.licenses)
_BUNDLE: Final = _bytes(LIMITS.bundle_bytes, "JSON_MALFORMED")

FORMS: Final = MappingProxyType(
    {
        **_rows(_text(32), "GetCapabilitiesRequest.api_version"),
        **_rows(_NAME, "GetBlueprintRequest.name", "ListKeysRequest.blueprint", "GetThinRequest.blueprint"),
        **_rows(_NAME, "SelectRequest.blueprint", "DescendRequest.blueprint"),
        **_rows(_NAME, "EnrolRequest.site", "GetEnrolmentRequest.site", "BeginNonceRequest.site"),
        **_rows(_NAME, "InviteRequest.site", "ChangeSiteRequest.site"),
        **_rows(_text(16 << 10, reason="CHECKPOINT_INVALID", lines=True), "AddCosignatureRequest.checkpoint"),
        **_rows(_text(64, reason="LOG_RANGE"), "GetTileRequest.path"),
        **_rows(_text(128, reason="FILE_MISSING"), "GetFileRequest.name"),
        **_rows(Form(_pattern("[0-9a-f]{32}"), 32, reason="INVITE_INVALID"), "EnrolRequest.invite_id"),
        **_rows(_bytes(LIMITS.csr_bytes, "KEY_MALFORMED"), "EnrolRequest.tls_csr", "EnrolRequest.signing_csr"),
        **_rows(_bytes(LIMITS.csr_bytes, "KEY_MALFORMED"), "RenewRequest.tls_csr", "JoinCampaignRequest.node_csr"),
        **_rows(_bytes(64, "INVITE_INVALID"), "EnrolRequest.mac"),
        **_rows(_ID, "GetEnrolmentRequest.tls_keyid"),
        **_rows(_BUNDLE, "RotateSigningKeyRequest.by_old", "RotateSigningKeyRequest.by_new", "BeginRequest.bundle"),
        **_rows(_BUNDLE, "WithdrawRequest.bundle", "GetDescendantsRequest.bundle"),
        **_rows(_bytes(LIMITS.manifest_bytes, "JSON_MALFORMED"), "BeginRequest.manifest"),
        **_rows(_LATER, "WriteRequest.upload_id"),
        **_rows(_bytes(LIMITS.chunk_bytes, "CHUNK_TOO_LARGE"), "WriteRequest.data"),
        **_rows(_ID, "QueryWriteStatusRequest.upload_id", "CommitRequest.upload_id"),
        **_rows(_ID, "GetContributionRequest.contribution_id", "Weight.contribution_id"),
        **_rows(Form(_pattern("([A-Za-z0-9_-]{43})?"), 43), "GetDescendantsRequest.page_token"),
        **_rows(_SPDX, "ListKeysRequest.licenses", "SelectRequest.licenses"),
        **_rows(Form(_HEX, 64, LIMITS.short_list, reason="OPTION_INVALID"), "GetThinRequest.contribution_ids"),
        **_rows(_bytes(LIMITS.message_bytes), "SelectRequest.pixels"),
        **_rows(Form(most=LIMITS.support_images, reason="SUPPORT_TOO_LARGE"), "SelectRequest.labels"),
        **_rows(Form(most=LIMITS.members, reason="WEIGHTS_MALFORMED"), "DescendRequest.weights"),
        **_rows(Form(_HEX, 64, LIMITS.log_entries, reason="OPTION_INVALID"), "CheckStatusRequest.contribution_ids"),
        **_rows(Form(_HEX, 64, LIMITS.log_entries, reason="OPTION_INVALID"), "CheckStatusRequest.descendants"),
        # the operator's
        **_rows(_text(32, most=8, reason="OPTION_INVALID"), "InviteRequest.roles"),
        **_rows(Form(largest=366 * 86_400, reason="OPTION_INVALID"), "InviteRequest.life_seconds"),
        **_rows(_text(128), "ChangeSiteRequest.fingerprint"),
        **_rows(Form(_pattern("[0-9a-f]{0,64}"), 64), "ListContributionsRequest.prefix"),
        **_rows(_ID, "DecideContributionRequest.contribution_id", "WithdrawContributionRequest.contribution_id"),
        **_rows(_ID, "ListDescendantsRequest.contribution_id"),
        **_rows(_text(4096), "DecideContributionRequest.note"),
        **_rows(_text(500), "WithdrawContributionRequest.reason"),
        **_rows(_text(4096), "SealRequest.folder", "BackupRequest.folder", "BackupRequest.keys"),
    }
)
"""Full name of a field -> its form: every text, every bytes and every list of every request."""


def check(message: Message) -> None:
    """Refuse a request of which a field does not have its form. The value is never repeated in the sentence.

    Raises:
        GenepoolError: of the form's reason.
    """
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        form = FORMS.get(field.full_name)
        items = list(value[: form.most + 1] if form and form.most else value) if field.is_repeated else [value]
        if form is not None:
            if form.most and len(value) > form.most:
                raise _refused(field.name, form, f"has {len(value)} items, at most {form.most} are allowed")
            for item in items:
                if problem := form.problem(item):
                    raise _refused(field.name, form, problem)
        if field.message_type is not None and (field.is_repeated or message.HasField(field.name)):
            for item in items:
                check(item)


def _refused(name: str, form: Form, problem: str) -> GenepoolError:
    return error(form.reason, f"the field {name} {problem}", _FIX)
