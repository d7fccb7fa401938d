"""Write the lock of the released set without CUDA: PyTorch's own wheels for processors in place of the ordinary ones.

    python deploy/release/cpu_lock.py [INDEX]        INDEX: by default PyTorch's, for processors

Versions stay those of requirements.lock, which the tests ran with. What only a graphics card needs is left out, and the
hashes of torch and torchvision are those that INDEX names. Run it where INDEX can be reached, look at the diff, and
commit it: from then on a build trusts these hashes and not the index.
"""

import re
import sys
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Final
from urllib.parse import unquote, urldefrag, urljoin

from lock import LOCK, ROOT, pins
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

CPU_LOCK: Final = ROOT / "requirements-cpu.lock"
INDEX: Final = "https://download.pytorch.org/whl/cpu"
REPLACED: Final = ("torch", "torchvision")
_CARD: Final = re.compile(r"^(nvidia-.*|cuda-.*|triton)$")
_SHA256: Final = re.compile(r"sha256=([0-9a-f]{64})")
_TAG: Final = "cp311-cp311"
_PLATFORM: Final = re.compile(r"^(manylinux_2_(\d+)|linux)_x86_64$")
_GLIBC: Final = 28


class _Links(HTMLParser):
    """The links of a page of a package index."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def hashes(page: str, name: str, version: str) -> tuple[str, set[str]]:
    """Return the full version that an index has for processors, and the SHA-256 of its wheels for our platform.

    Args:
        page: the index's page of the package (PEP 503).
        name: of the package.
        version: the locked one, without a local part.

    Raises:
        ValueError: the page has no such wheel, or one without a hash.
    """
    links = _Links()
    links.feed(page)
    digests, full = set(), ""
    for target in links.targets:
        path, fragment = urldefrag(target)
        file = unquote(path.rpartition("/")[2])
        if not file.endswith(".whl"):
            continue
        distribution, wheel, _, tags = parse_wheel_filename(file)
        if distribution != canonicalize_name(name) or wheel.public != version or not any(map(_fits, tags)):
            continue
        digest = _SHA256.fullmatch(fragment)
        if digest is None:
            raise ValueError(f"the index names no SHA-256 for {file}")
        digests.add(digest[1])
        full = str(wheel)
    if not digests:
        raise ValueError(f"the index has no wheel of {name} {version} for Python 3.11 on x86-64 Linux")
    return full, digests


def _fits(tag: Tag) -> bool:
    platform = _PLATFORM.match(tag.platform)
    recent = platform is not None and int(platform[2] or 0) <= _GLIBC
    return recent and f"{tag.interpreter}-{tag.abi}" == _TAG


def without_card(text: str, replaced: dict[str, tuple[str, set[str]]]) -> Iterator[str]:
    """Yield the lines of a lock, without what a graphics card needs and with other wheels for some packages.

    Args:
        text: of requirements.lock.
        replaced: package -> full version and hashes.
    """
    skipped = False
    for line in text.splitlines():
        if not line.startswith((" ", "#")):
            name = canonicalize_name(line.partition("==")[0])
            skipped = bool(_CARD.match(name)) or name in replaced
            if name in replaced:
                version, digests = replaced[name]
                yield f"{name}=={version} \\"
                yield " \\\n".join(f"    --hash=sha256:{digest}" for digest in sorted(digests))
        if not skipped:
            yield line


def main() -> None:
    """Write the lock."""
    index = sys.argv[1] if len(sys.argv) > 1 else INDEX
    locked, text = {pin.name: pin.version for pin in pins(LOCK.read_text())}, LOCK.read_text()
    replaced = {}
    for name in REPLACED:
        with urllib.request.urlopen(urljoin(f"{index}/", f"{name}/"), timeout=60) as response:
            replaced[name] = hashes(response.read().decode(), name, locked[name])
    CPU_LOCK.write_text("".join(f"{line}\n" for line in without_card(text, replaced)))
    print(f"{CPU_LOCK.name}: {', '.join(f'{name} {version}' for name, (version, _) in replaced.items())}")


if __name__ == "__main__":
    main()
