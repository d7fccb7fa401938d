"""How a folder becomes a site of a pool: init with an invitation, enrol its keys, wait for the operator's approval."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from genepool_client.pictures.datasets import is_name
from genepool_client.pictures.images import check_source
from genepool_client.site import credentials
from genepool_client.site import folder as folders
from genepool_client.site.folder import SiteFolder
from genepool_client.transport.blueprints import announced, only
from genepool_client.transport.channel import Connection, check_address
from genepool_client.transport.durable import remove, write_json
from genepool_protocol.trust.anchors import Anchors, Invite, read_anchors, read_invite
from genepool_protocol.trust.enrolment import Application, channel_of, fingerprint, grouped, mac, make_csr
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import Refused, VerificationError


@dataclass(frozen=True, slots=True)
class Setup:
    """What `init` is given.

    Attributes:
        invite: path of the invitation.
        pool: path of the anchors (pool.json) or HOST:PORT; empty: what the invitation says.
        data: folder of class folders or name of a data set; may be given later.
        data_dir: where a named data set lies.
        license: SPDX id of the contributions.
        blueprint: name; empty: the pool's only one.
        steps: of the ancestry model; 0: by the number of images.
        passphrase: what the signing key is kept under; None: nothing.
        groups: whether folders in the class folders are groups of images.
        intensity: what is black and white in images deeper than a byte: "LOW,HIGH" or "measured".
    """

    invite: Path
    pool: str = ""
    data: str = ""
    data_dir: str = ""
    license: str = "CC-BY-4.0"
    blueprint: str = ""
    steps: int = 0
    passphrase: bytes | None = None
    groups: bool = False
    intensity: str = ""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The pool's view of a site; `fingerprint` is what the operator compares before approving."""

    site: str
    state: str
    keyid: str
    fingerprint: str


def init(path: Path, setup: Setup) -> SiteFolder:
    """Make a site folder after everything was checked against the pool; writes nothing when anything is wrong.

    Raises:
        InvalidInput: PATH_NOT_EMPTY, CONFIG_INVALID, OPTION_INVALID, or a problem of the invitation or the data.
        VerificationError: KEY_UNKNOWN, `pool` and the invitation speak of two pools, or another pool answers.
        NotFound: BLUEPRINT_UNKNOWN.
        GenepoolError: the pool cannot be reached.
    """
    folders.check_new(path)
    invite = read_invite(setup.invite)
    anchors = _anchors(setup.pool, invite)
    data = absolute(setup.data)
    if data:
        check_source(data, groups=setup.groups)
    with TemporaryDirectory(prefix="genepool-") as scratch, Connection(anchors, trust=Path(scratch)) as connection:
        capabilities = connection.capabilities()
    name = setup.blueprint or only(capabilities, anchors.address, "choose with --blueprint")
    values = {
        "name": invite.site,
        "anchors": anchors.model_dump(by_alias=True),
        "blueprint": name,
        "blueprint_sha256": f"sha256:{announced(capabilities, name, anchors.address)}",
        "data": data,
        "groups": setup.groups,
        "intensity": setup.intensity,
        "data_dir": absolute(setup.data_dir),
        "license": setup.license,
        "steps": setup.steps,
    }
    return folders.create(path, folders.validated(values, path / folders.CONFIG_FILE), invite, setup.passphrase)


def enrol(site: SiteFolder, connection: Connection) -> Enrolment:
    """Register the site's keys with the pool; when they are registered, ask for the site's state instead.

    Raises:
        Refused: INVITE_EXPIRED; INVITE_USED, other keys were registered under the invitation; KEY_IN_USE.
        VerificationError: INVITE_INVALID; KEY_UNKNOWN, the pool knows the site under other keys.
        GenepoolError: as `Connection.call`.
    """
    invite = site.invite()
    if invite is None:
        return state(site, connection)
    tls, signing = make_csr(site.keys.tls().key), make_csr(site.signing_key())
    application = Application(invite.site, invite.invite_id, tls, signing)
    channel = channel_of(connection.trusted.ca_pem)
    request = pb.EnrolRequest(
        site=application.site,
        invite_id=application.invite_id,
        tls_csr=tls,
        signing_csr=signing,
        mac=mac(invite.secret, connection.trusted.origin, channel, application),
    )
    response = connection.call(connection.enrolment.Enrol, request)
    enrolled = _checked(site, response.state, response.fingerprint)
    remove(site.path / folders.INVITE_FILE)
    return enrolled


def state(site: SiteFolder, connection: Connection) -> Enrolment:
    """The pool's view of the site; its certificate is kept once there is one.

    Raises:
        NotFound: SITE_UNKNOWN.
        VerificationError: KEY_UNKNOWN.
        GenepoolError: as `Connection.call`.
    """
    identity = site.keys.tls()
    response = credentials.ask(site, connection, identity)
    if response.certificate_pem and not identity.chain:
        site.keys.keep_certificate(identity.key, response.certificate_pem)
    return _checked(site, response.state, response.fingerprint)


def replace_invite(site: SiteFolder, path: Path, passphrase: bytes | None = None) -> None:
    """Take a new invitation of the same pool and site; a site that had enrolled gets fresh keys for it.

    Raises:
        Refused: SITE_MISMATCH, it is for another site.
        VerificationError: KEY_UNKNOWN, it is of another pool.
        InvalidInput: PATH_MISSING, JSON_MALFORMED or FILE_MALFORMED.
    """
    invite = read_invite(path)
    if invite.site != site.config.name:
        raise Refused(
            "SITE_MISMATCH", f"{path} invites {invite.site}, this is {site.config.name}", "use this site's invitation"
        )
    _same_pool(site.config.anchors, invite.anchors, str(path))
    pinned = site.config.anchors.model_copy(update={"ca_pem": invite.anchors.ca_pem})
    if pinned != site.config.anchors:  # the pool has another CA, and the site was away for too long
        site.change(anchors=pinned.model_dump(by_alias=True))
    if site.invite() is None:
        site.keys.create(passphrase)
    write_json(site.path / folders.INVITE_FILE, invite.model_dump(by_alias=True), 0o600)


def _checked(site: SiteFolder, number: int, registered: str) -> Enrolment:
    signing = site.keys.public.keyid
    ours = fingerprint(site.keys.tls().key.public.keyid, signing)
    if registered and registered != ours:
        raise VerificationError(
            "KEY_UNKNOWN",
            f"the pool knows {site.config.name} under the fingerprint {grouped(registered)}, ours is {grouped(ours)}",
            "use the folder that was enrolled, or ask the operator for a new invitation",
        )
    try:
        name = pb.SiteState.Name(pb.SiteState.ValueType(number)).removeprefix("SITE_STATE_")
    except ValueError:
        name = "UNSPECIFIED"
    return Enrolment(site.config.name, name, signing, ours)


def _anchors(pool: str, invite: Invite) -> Anchors:
    """The invitation's anchors, at the address that was given beside it."""
    if not pool:
        return invite.anchors
    if Path(pool).exists() or not _is_address(pool):
        given = read_anchors(Path(pool))
        _same_pool(given, invite.anchors, pool)
        return given
    return invite.anchors.model_copy(update={"address": check_address(pool)})


def _is_address(text: str) -> bool:
    return ":" in text and "/" not in text


def _same_pool(one: Anchors, other: Anchors, what: str) -> None:
    if one.root != other.root:
        raise VerificationError(
            "KEY_UNKNOWN", f"{what} and the invitation pin two roots: they are of two pools", "ask the operator"
        )


def absolute(source: str) -> str:
    """A data path that means the same from every folder; the name of a data set stays what it is."""
    if not source or (is_name(source) and not Path(source).exists()):
        return source
    return str(Path(source).absolute())
