"""A pool server process, and sites of it, for tests."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from genepool_client.simulate.pool_process import PoolProcess
from genepool_client.site import credentials, enrolment, outbox, submission
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import SiteBlueprint
from genepool_client.site.steps import Condensed, Trained
from genepool_client.training import privacy
from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_atomic, write_json
from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.manifest import file_layout
from genepool_protocol.machine.processes import Child, free_port, run_json, script
from genepool_protocol.trust import digest
from genepool_protocol.trust.anchors import Invite, read_anchors
from genepool_protocol.trust.encoding import b64
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.commands import operating
from genepool_server.records import Contribution
from genepool_server.root.repository import Repository
from tests.support.genes import write_seed


def silent(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


class World:
    """A real `genepool-server` with a blueprint of the test's own; the pool's port stays the same when it restarts.

    Args:
        root: an empty folder.
        blueprint: what `tiny_blueprint` is changed by.
    """

    def __init__(self, root: Path, **blueprint) -> None:
        self.root, self.port, self.certified = root, 0, free_port()
        write_seed(root / "blueprint", np.random.default_rng(0), **blueprint)
        self._child: Child | None = None
        made = ["init", str(root / "pool"), "--blueprint", str(root / "blueprint"), "--workers", "0"]
        made += ["--screening", "off"]  # learngenes of random numbers have nothing in common
        run_json([script("genepool-server"), *made], env={}, cwd=root)
        self.pool = PoolProcess(root / "pool", root, "")

    def start(self) -> None:
        command = [script("genepool-server"), "serve", str(self.pool.folder), "--listen", f"127.0.0.1:{self.port}"]
        command += ["--listen-certified", f"127.0.0.1:{self.certified}"]
        log = self.root / f"pool-{len(list(self.root.glob('pool-*.log')))}.log"
        self._child = Child("the pool server", command, log, env={}, cwd=self.root)
        self._child.wait_for("serving ", 180)
        self.port = int((self.pool.folder / "address").read_text().strip().rpartition(":")[2])

    def kill(self) -> None:
        """End the server without warning."""
        self._child._process.kill()
        self._child.wait(10)
        self._child.stop()

    def stop(self) -> None:
        self._child.stop()

    @property
    def anchors(self) -> Path:
        return self.pool.folder / "pool.json"

    @property
    def trusted(self) -> Trusted:
        return Repository(self.pool.folder / "trust").trusted()

    def invited(self, name: str, **terms) -> Path:
        """An invitation's file; through the operator's socket, as the command does, but without its process."""
        path = self.root / f"invite-{name}.json"
        with operating.operate(self.pool.folder) as operator:
            made = operator.sites.invite(name, datetime.now(UTC), **terms)
        values = {"invite_id": made.invite_id, "secret": made.secret, "expires": made.expires}
        invite = Invite(site=name, anchors=read_anchors(self.anchors), **values)
        write_json(path, invite.model_dump(by_alias=True))
        return path

    def approve(self, name: str) -> None:
        with operating.operate(self.pool.folder) as operator:
            operator.sites.approve(name)

    def contributions(self) -> dict[str, Contribution]:
        with operating.operate(self.pool.folder) as operator:
            return {one.contribution_id: one for one in operator.contributions.all()}

    def site(
        self, name: str, *, data: Path | None = None, address: str = "", approve: bool = True, **terms
    ) -> SiteFolder:
        """An enrolled site in `root/name`."""
        setup = enrolment.Setup(invite=self.invited(name, **terms), pool=address, data=str(data or ""), steps=2)
        site = enrolment.init(self.root / name, setup)
        with Connection(site.config.anchors) as connection:
            enrolment.enrol(site, connection)
        if approve:
            self.approve(name)
        return site

    def auditor(self) -> Path:
        """The key and certificate of an auditor, whom campaigns ask the pool as."""
        path = self.root / "auditor"
        site = SiteFolder(path) if path.exists() else self.site("auditor", roles=("auditor",))
        return credentials.ready(site).path


def condensed(site: SiteFolder, rng: int, whose: str = "") -> None:
    """Put a learngene of random numbers where condensing leaves it: submitting does not care where it came from."""
    blueprint = SiteBlueprint(site).blueprint
    generator = np.random.default_rng([rng, *(whose or site.config.name).encode()])  # tests share one pool
    gene = {
        name: (0.01 * generator.standard_normal(shape)).astype(np.float32)
        for name, shape in file_layout(blueprint).items()
    }
    gene["key.mean"] *= 100
    clip = blueprint.embedding_frame.clip
    draw = privacy.Draw(
        data="d",
        blueprint=blueprint.sha256,
        images=100,
        epsilon="1",
        delta="1e-6",
        clip=clip,
        sigma=privacy.sigma_of(float(clip), 100, "1", "1e-6"),
        values=b64(gene["key.mean"].astype("<f4").tobytes()),
    )
    write_json(site.drawn, privacy.Draws(draws=[draw]).model_dump(by_alias=True))
    raw = tensors.encode(gene, "F32")
    trained = Trained(
        blueprint=blueprint.sha256,
        data="d",
        images=100,
        classes=3,
        steps=1,
        accuracy=None,
        sha256="0" * 64,
        size_bytes=1,
    )
    record = Condensed(ancestry=trained, steps=1, agreement=0.5, sha256=digest.sha256_hex(raw), drawn="d")
    write_atomic(site.work / "condensed.safetensors", raw)
    write_json(site.work / "condensed.json", record.model_dump(by_alias=True))


def refused(call, *arguments, **options) -> GenepoolError:
    with pytest.raises(GenepoolError) as caught:
        call(*arguments, **options)
    return caught.value


def submit(site: SiteFolder) -> submission.Submitted:
    with credentials.connect(site) as connection:
        return submission.submit(SiteBlueprint(site), connection, silent)


def last_received(site: SiteFolder) -> str:
    """The id of a site's newest contribution with a receipt."""
    return next(artefact.contribution_id for artefact in reversed(outbox.artefacts(site)) if artefact.received)
