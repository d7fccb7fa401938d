"""Debian's Chromium without a screen, driven by selenium: what a page shows, asks for, and complains of."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync"),
    "--disable-dev-shm-usage",
)


class Chromium:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last time, by anything but the browser itself."""
        events = [json.loads(row["message"])["message"] for row in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What the console says of broken rules and scripts since the last time."""
        return [row["message"] for row in self.driver.get_log("browser")]

    def barriers(self) -> list[str]:
        """Rules of accessibility that the page breaks, with what breaks them."""
        broken = Axe().run(self.driver)["violations"]
        return [f"{rule['id']}: {node['html'][:200]}" for rule in broken for node in rule["nodes"]]

    def dark(self, *, on: bool) -> None:
        """Whether the reader likes it dark."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def picture(self, path: str, height: int = 0) -> None:
        """Take a picture of the page, as long as it is or so high."""
        self.driver.set_window_size(1280, 500)
        content = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["height"]
        chrome = 1000 - self._inner(1000)
        self.driver.set_window_size(1280, (height or int(content)) + chrome)
        self.driver.save_screenshot(path)

    def _inner(self, outer: int) -> int:
        self.driver.set_window_size(1280, outer)
        return int(self.driver.execute_script("return window.innerHeight"))


@contextmanager
def chromium(*, scripts: bool = True) -> Iterator[Chromium]:
    """A browser with a profile of its own; skips the test where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("there is no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in _SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Chromium(opened)
    finally:
        opened.quit()
