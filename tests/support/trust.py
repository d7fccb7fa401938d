"""Trust roots for tests: made by the pool's own code, with every key at hand, honest or not."""

from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.trust.keys import LogVerifier, SigningKey, VerifyingKey
from genepool_protocol.trust.trusted import Signers, Trusted
from genepool_protocol.wire.errors import NotFound
from genepool_server.root.repository import Repository

CA = "-----BEGIN CERTIFICATE-----\n"
OPERATOR = SigningKey.generate()


def trusted(
    log: LogVerifier, release: VerifyingKey, operator: VerifyingKey = OPERATOR.public, witnesses=(), quorum=0, ca=CA
) -> Trusted:
    """What clients believe of a pool with these keys."""
    signers = Signers.begin(log, release, operator)
    return Trusted(ca_pem=ca, signers=signers, witnesses=list(witnesses), quorum=quorum)


def signers(found: Trusted, **changes) -> Trusted:
    """The same with other signers: `log`, `release`, `operator`."""
    old = found.signers
    given = {"log": old.log.current, "release": old.release.current, "operator": old.operator.current} | changes
    return found.model_copy(update={"signers": Signers.begin(**given)})


class TrustRoot:
    """A trust root in a folder; what it serves can be replaced file by file in `served`."""

    def __init__(self, folder: Path, content: Trusted, now: datetime | None = None, keys=None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.content = folder, content
        self.root, self.targets, self.online = keys or [CryptoSigner.generate_ed25519() for _ in range(3)]
        self.repository = Repository(folder)
        self.repository.create(content, self.root, self.targets, self.online, now or datetime.now(UTC))
        self.served: dict[str, bytes] = {}

    def anchors(self, address: str = "pool.test:1") -> Anchors:
        return Anchors(address=address, ca_pem=CA, root=self.repository.first())

    def fetch(self, name: str):
        """As `updating.Fetch`."""
        raw = self.served[name] if name in self.served else self.repository.read(name)
        if raw is None:
            raise NotFound("FILE_MISSING", "it is withheld")
        yield raw

    def name(self, role: str) -> str:
        """Under which name a file is served now."""
        return f"{getattr(self.repository, role)().version}.{role}.json"

    def files(self) -> dict[str, bytes]:
        """Everything that is served now."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}
