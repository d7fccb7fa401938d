"""Entering a campaign over the wire: who may, with which key, and what is said."""

from dataclasses import replace

import pytest

from genepool_protocol.trust.enrolment import make_csr
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.campaign import operator_witness
from genepool_server.campaign.claims import ReceiptClaim
from genepool_server.campaign.operator_witness import OperatorWitness
from genepool_server.pool.sites.campaigns import CampaignRecord, this_process
from tests.integration.server.wire import refused
from tests.support.server import TIMEOUT

BUNDLE = "sha256:" + "ab" * 32


def request(key: SigningKey) -> pb.JoinCampaignRequest:
    return pb.JoinCampaignRequest(node_csr=make_csr(key))


@pytest.fixture
def running(server):
    """A campaign that this process runs, as far as its record says."""
    pid, process = this_process()
    record = CampaignRecord(
        id="0000beef", state="running", pid=pid, process=process, bundle=BUNDLE, min_sites=1, address="gate:8472",
        began="2026-01-01T00:00:00Z", deadline="2036-01-01T00:00:00Z",
    )  # fmt: skip
    server.pool.campaigns.create(record)
    yield record
    server.pool.campaigns.write(record.model_copy(update={"state": "stopped"}))


def test_without_a_campaign_there_is_none_to_enter(site):
    assert refused(site.stubs.contribute.JoinCampaign, request(SigningKey.generate())).reason == "CAMPAIGN_UNKNOWN"


def test_a_contributor_is_told_where_it_is_and_when_its_node_is_registered(server, running, site):
    key = SigningKey.generate()
    said = site.stubs.contribute.JoinCampaign(request(key), timeout=TIMEOUT)
    assert (said.campaign_id, said.address, said.bundle_sha256) == ("0000beef", "gate:8472", BUNDLE)
    assert (said.ends, said.ready) == ("2036-01-01T00:00:00Z", False)
    assert server.pool.campaigns.nodes("0000beef")[site.name] == key.public
    registered = running.model_copy(update={"nodes": {site.name: key.public.keyid}})
    server.pool.campaigns.write(registered)
    assert site.stubs.contribute.JoinCampaign(request(key), timeout=TIMEOUT).ready
    # another key is another node
    assert not site.stubs.contribute.JoinCampaign(request(SigningKey.generate()), timeout=TIMEOUT).ready


def test_a_site_waits_for_a_campaign_that_was_interrupted(server, running, site):
    key = SigningKey.generate()
    nodes = {site.name: key.public.keyid}
    gone = running.model_copy(update={"process": "gone", "nodes": nodes, "deadline": "2099-01-01T00:00:00Z"})
    server.pool.campaigns.write(gone)
    said = site.stubs.contribute.JoinCampaign(request(key), timeout=TIMEOUT)
    assert (said.campaign_id, said.address, said.ready) == ("0000beef", "gate:8472", False)
    server.pool.campaigns.write(gone.model_copy(update={"state": "stopped"}))
    assert refused(site.stubs.contribute.JoinCampaign, request(key)).reason == "CAMPAIGN_UNKNOWN"


def test_whom_it_does_not_invite_and_who_may_not_contribute_stay_outside(server, running, new_site, stubs):
    server.pool.campaigns.write(running.model_copy(update={"chosen": ["somebody-else"]}))
    site = new_site().join()
    assert refused(site.stubs.contribute.JoinCampaign, request(SigningKey.generate())).reason == "CAMPAIGN_UNKNOWN"
    auditor = new_site().join(roles=("auditor",))
    assert refused(auditor.stubs.contribute.JoinCampaign, request(SigningKey.generate())).reason == "ROLE_MISSING"
    assert refused(stubs.contribute.JoinCampaign, request(SigningKey.generate())).reason == "CERT_REQUIRED"
    server.pool.sites.suspend(site.name)
    assert refused(site.stubs.contribute.JoinCampaign, request(SigningKey.generate())).reason == "SITE_NOT_ACTIVE"


def test_a_key_that_the_sender_does_not_have_is_not_entered(running, new_site):
    first, second, key = new_site().join(), new_site().join(), SigningKey.generate()
    csr = bytearray(make_csr(key))
    csr[-1] ^= 1
    forged = refused(first.stubs.contribute.JoinCampaign, pb.JoinCampaignRequest(node_csr=bytes(csr)))
    assert forged.reason in ("SIGNATURE_INVALID", "KEY_MALFORMED")
    first.stubs.contribute.JoinCampaign(request(key), timeout=TIMEOUT)
    assert refused(second.stubs.contribute.JoinCampaign, request(key)).reason == "KEY_IN_USE"


def test_the_operators_word_is_about_this_sites_contribution_and_these_bytes(server, new_site, rng):
    first, second = new_site().join(), new_site().join()
    contribution_id = first.contribute(rng).contribution_id
    contribution = server.pool.contributions.get(contribution_id)
    claim = ReceiptClaim(contribution_id, contribution.sha256, contribution.size_bytes, "ACTIVE", "0.1.0")
    witness = OperatorWitness(server.folder)
    assert witness.confirm(claim, first.name) == contribution.log_index

    def doubt(site: str, **changes) -> str:
        with pytest.raises(GenepoolError) as caught:
            witness.confirm(replace(claim, **changes), site)
        return caught.value.reason

    assert doubt(second.name) == "CONTRIBUTION_UNKNOWN"  # a site cannot answer with what another one gave
    assert doubt(first.name, contribution_id="0" * 64) == "CONTRIBUTION_UNKNOWN"
    assert doubt(first.name, sha256="0" * 64) == "PROOF_INVALID"
    assert doubt(first.name, size_bytes=claim.size_bytes + 1) == "PROOF_INVALID"
    server.pool.contributions.withdraw_as_operator(contribution_id, "a test")
    assert doubt(first.name) == "CONTRIBUTION_NOT_ACTIVE"


def test_a_pool_that_nobody_serves_is_waited_for_and_then_named(tmp_path, monkeypatch):
    monkeypatch.setattr(operator_witness, "_PATIENCE", 0.0)
    with pytest.raises(GenepoolError) as caught:
        OperatorWitness(tmp_path).confirm(ReceiptClaim("0" * 64, "0" * 64, 1, "ACTIVE", "0"), "north")
    assert (caught.value.reason, str(tmp_path) in caught.value.fix) == ("POOL_UNREACHABLE", True)
