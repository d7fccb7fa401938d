"""A pool gets other names, and its sites follow."""

from cryptography import x509

from genepool_client.site import credentials, moving
from genepool_client.site.folder import SiteFolder
from genepool_protocol.trust.anchors import read_anchors
from tests.integration.site.world import refused
from tests.support.server import command, new_pool, serving


def names_of(folder) -> set[str]:
    certificate = x509.load_pem_x509_certificate((folder / "keys" / "tls.crt").read_bytes())
    return {
        str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    }


def test_names_are_changed_by_a_command_and_the_certificate_follows(tmp_path):
    folder = new_pool(tmp_path / "pool", hosts=["old.example"])
    with serving(folder):
        before = names_of(folder)
    words = ["--add", "new.example", "--add", "2001:db8::7", "--add", "192.0.2.7", "--remove", "old.example"]
    assert command("names", folder, *words, "--json").returncode == 0
    with serving(folder) as server:
        assert {"new.example", "2001:db8::7", "192.0.2.7"} <= names_of(folder)
        assert server.anchors.root == read_anchors(folder / "pool.json").root
    assert "old.example" in before - names_of(folder)


def test_a_site_follows_the_pool_to_another_address_by_file_or_address(world, tmp_path):
    site = world.site("follower")
    host, _, port = site.config.anchors.address.rpartition(":")
    moved = site.config.anchors.model_copy(update={"address": f"localhost:{port}"})
    (tmp_path / "pool.json").write_text(moved.model_dump_json(by_alias=True))
    moving.point(site, str(tmp_path / "pool.json"))
    again = SiteFolder(site.path)
    assert again.config.anchors.address == f"localhost:{port}"
    assert credentials.ready(again).chain
    moving.point(again, f"{host}:{port}")
    assert SiteFolder(site.path).config.anchors.address == f"{host}:{port}"


def test_a_site_does_not_follow_where_nobody_or_another_pool_answers(world, tmp_path):
    site = world.site("careful")
    before = (site.path / "site.json").read_bytes()
    assert refused(moving.point, site, "127.0.0.1:1").reason == "POOL_UNREACHABLE"
    with serving(new_pool(tmp_path / "other")) as other:
        assert refused(moving.point, site, str(other.folder / "pool.json")).reason == "KEY_UNKNOWN"
        assert refused(moving.point, site, other.address).reason in ("POOL_UNTRUSTED", "TRUST_INVALID")
    assert (site.path / "site.json").read_bytes() == before
