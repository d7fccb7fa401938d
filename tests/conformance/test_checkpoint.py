"""sigstore-conformance: checkpoints of a Rekor v2 log; folders that end in _fail must be refused."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization

from genepool_protocol.trust import checkpoint, merkle
from genepool_protocol.trust.keys import LogVerifier
from genepool_protocol.wire.errors import VerificationError

ORIGIN = "log2025-alpha1.rekor.sigstage.dev"


def log_key(folder) -> LogVerifier:
    logs = json.loads((folder / "trusted_root.json").read_bytes())["tlogs"]
    (log,) = (log for log in logs if log["baseUrl"].endswith(ORIGIN))
    public = serialization.load_der_public_key(base64.b64decode(log["publicKey"]["rawBytes"])).public_bytes_raw()
    key = LogVerifier(ORIGIN, public)
    assert key.log_id == base64.b64decode(log["logId"]["keyId"])
    return key


def check(folder) -> None:
    """The log's part of verifying a bundle: checkpoint, root, inclusion."""
    bundle = json.loads((folder / "bundle.sigstore.json").read_bytes())
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    proof = entry.get("inclusionProof", {})
    head = checkpoint.verify(proof.get("checkpoint", {}).get("envelope", ""), log_key(folder))
    assert (head.size, head.root) == (int(proof["treeSize"]), base64.b64decode(proof["rootHash"]))
    leaf = merkle.leaf_hash(base64.b64decode(entry["canonicalizedBody"]))
    hashes = [base64.b64decode(one) for one in proof["hashes"]]
    merkle.verify_inclusion(leaf, int(proof["logIndex"]), head.size, hashes, head.root)


def test_good_and_bad_checkpoints_are_told_apart(vectors):
    folders = sorted(path for path in (vectors / "checkpoint").iterdir() if path.is_dir())
    assert len(folders) == 11
    for folder in folders:
        if folder.name.endswith("_fail"):
            with pytest.raises(VerificationError) as caught:
                check(folder)
            assert caught.value.reason == "CHECKPOINT_INVALID"
        else:
            check(folder)
