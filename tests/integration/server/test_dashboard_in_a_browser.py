"""The dashboard in a real browser: it reads without scripts, asks nobody else, breaks no rule of its own or of axe's.

`python -m tests.integration.server.test_dashboard_in_a_browser` takes the pictures of the manual.
"""

import hashlib
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from genepool_protocol.learngene import tensors
from genepool_server.dashboard.pages import PAGES
from genepool_server.pool.pool import OpenPool
from genepool_server.records import Descended
from tests.support import sites
from tests.support.browser import chromium
from tests.support.server import new_pool, operate_link, serving

pytestmark = pytest.mark.slow

NAMES = ("berlin-skin", "lyon-eye", "oslo-radiology", "graz-pathology", "porto-skin", "turku-lung")
LICENCES = ("CC-BY-4.0", "CC0-1.0", "Apache-2.0")
ASSETS = Path(__file__).parents[3] / "docs" / "assets"


def lively_pool(parent: Path) -> Path:
    """A pool with something of everything in it."""
    folder = new_pool(parent / "pool", admission="manual", name="hospitals.example/log", dashboard={"listen": "0"})
    rng = np.random.default_rng(5)
    with OpenPool.open(folder, automatic=False) as pool:
        blueprint, ids = pool.blueprint("tiny-16").blueprint, []
        for number, name in enumerate(NAMES):
            site, centre = sites.join(pool, name), rng.standard_normal(blueprint.embedding_width)
            for turn in range(3 - number % 2):
                gene = sites.gene(blueprint, rng)
                mean = centre + 0.25 * rng.standard_normal(centre.shape)
                length = np.linalg.norm(gene["key.mean"].astype(float))
                gene["key.mean"] = (mean / np.linalg.norm(mean) * length).astype(np.float16)
                raw = tensors.encode(gene, "F16")
                packed = site.pack(pool, raw, license=LICENCES[(number + turn) % 3])
                ids.append(sites.submit(pool, packed).contribution_id)
        for number, name in enumerate(ids):
            if number % 7 == 5:
                pool.contributions.decide(
                    name, "REJECTED", "the canary: accuracy on public pictures fell by 4.1 points"
                )
            elif number % 8 != 3:
                pool.contributions.decide(name, "ACTIVE", "passed every check")
        active = [one.contribution_id for one in pool.contributions.all() if one.state == "ACTIVE"]
        for number in range(60):
            members = tuple(sorted(rng.choice(active, 3, replace=False)))
            digest = hashlib.sha256(bytes([number])).hexdigest()
            pool.contributions.descendants.release(Descended(digest, "tiny-16", "3,2", members))
        pool.contributions.withdraw_as_operator(active[0], "the ethics board asked for it")
        sites.enrol(pool, sites.Contributor("bern-derma"))
        pool.sites.suspend("turku-lung")
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        for (digest,) in ledger.execute("SELECT sha256 FROM descendant").fetchall():
            day = datetime.now(UTC).date() - timedelta(days=int(abs(rng.normal(0, 9))))
            ledger.execute("UPDATE descendant SET first = ? WHERE sha256 = ?", (str(day), digest))
    ledger.close()
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(lively_pool(tmp_path_factory.mktemp("lively"))) as running:
        yield running


def addresses(server) -> list[str]:
    contribution = next(one for one in server.pool.contributions.all() if one.state == "WITHDRAWN")
    filled = [path.replace("{index}", "5").replace("{id}", contribution.contribution_id) for path in PAGES]
    return [f"{server.dashboard}{path}" for path in filled if not path.endswith(("json", "svg"))]


def log_in(browser, server) -> None:
    browser.driver.get(operate_link(server.folder))
    browser.driver.find_element("css selector", "button.primary").click()


def test_no_page_has_a_barrier_breaks_a_rule_or_asks_anybody_else(server):
    with chromium() as browser:
        seen = [
            f"{server.dashboard}/",
            f"{server.dashboard}/log",
            f"{server.dashboard}/sites",
            operate_link(server.folder),
        ]
        for address in seen:
            browser.driver.get(address)
            assert browser.barriers() == [], address
        refused = [text for text in browser.complaints() if "403" not in text and "favicon" not in text]
        assert refused == []
        log_in(browser, server)
        for dark in (False, True):
            browser.dark(on=dark)
            for address in addresses(server):
                browser.driver.get(address)
                for details in browser.driver.find_elements("css selector", "summary"):
                    details.click()
                assert browser.barriers() == [], (address, dark)
        assert [text for text in browser.complaints() if "favicon" not in text] == []
        asked = [url for url in browser.requests() if not url.startswith("chrome")]
        assert {urlsplit(url).netloc for url in asked} == {urlsplit(server.dashboard).netloc}


def test_everything_can_be_read_without_scripts(server):
    with chromium(scripts=False) as browser:
        log_in(browser, server)
        browser.driver.find_element("link text", "Contributions").click()
        browser.driver.find_element("link text", "withdrawn").click()
        browser.driver.find_element("css selector", "tbody th a").click()
        assert "the ethics board asked for it" in browser.driver.find_element("css selector", "main").text
        browser.driver.find_element("link text", "Map").click()
        assert "Scatter plot" in browser.driver.find_element("css selector", "img").get_attribute("alt")
        browser.driver.find_element("css selector", ".session button").click()
        assert "Sites" not in browser.driver.find_element("css selector", "nav").text


def test_drawings_are_drawn_and_the_style_is_applied(server):
    with chromium() as browser:
        log_in(browser, server)
        for path in ("/map", "/activity"):
            browser.driver.get(f"{server.dashboard}{path}")
            width = browser.driver.execute_script("return document.querySelector('.plate img').naturalWidth")
            assert width > 300
        colour = browser.driver.find_element("css selector", "header").value_of_css_property("background-color")
        assert colour != "rgba(0, 0, 0, 0)"


def main() -> None:
    """Take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS
    pictures = {"sites": ("/sites", 0), "map": ("/map", 0)}
    if folder != ASSETS:
        pictures |= {name: (f"/{name}", 0) for name in ("log", "contributions", "activity", "health", "log/5")}
        pictures |= {"overview": ("/", 0)}
    with tempfile.TemporaryDirectory() as parent, serving(lively_pool(Path(parent))) as server, chromium() as browser:
        browser.dark(on=False)
        log_in(browser, server)
        for name, (path, height) in pictures.items():
            browser.driver.get(f"{server.dashboard}{path}")
            browser.picture(str(folder / f"dashboard-{name.replace('/', '-')}.png"), height)


if __name__ == "__main__":
    main()
