"""Fetch a package with its own package manager and unpack it, without installing it.

Every function takes the work folder, leaves the archive in WORK/dl and its content in WORK/un/NAME, and does nothing
when that folder is already there. No checksum is compared: the package managers verify what they fetch.
"""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path


def apt(work: Path, name: str) -> Path:
    """Return the folder of an unpacked Debian package."""
    return _unpacked(work, name, ["apt-get", "download", name], f"{name}_*.deb", _undeb)


def pip(work: Path, name: str, version: str) -> Path:
    """Return the folder of an unpacked wheel; its dependencies are not fetched."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    wheel = f"{name.replace('-', '_')}-{version}-*.whl"
    return _unpacked(work, name, [*command, f"{name}=={version}"], wheel, _unzip)


def npm(work: Path, name: str, version: str) -> Path:
    """Return the folder of an unpacked npm package, its inner `package` folder included in the path."""
    flat = name.lstrip("@").replace("/", "-")
    return _unpacked(work, flat, ["npm", "pack", "--silent", f"{name}@{version}"], f"{flat}-{version}.tgz", _untar) / (
        "package"
    )


def _unpacked(work: Path, name: str, command: list[str], pattern: str, unpack: Callable[[Path, Path], None]) -> Path:
    target, downloads = work / "un" / name, work / "dl"
    if target.is_dir():
        return target
    downloads.mkdir(parents=True, exist_ok=True)
    if not any(downloads.glob(pattern)):
        subprocess.run(command, cwd=downloads, check=True, stdout=subprocess.DEVNULL)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    unpack(max(downloads.glob(pattern)), part)
    part.rename(target)
    return target


def _undeb(archive: Path, target: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)


def _unzip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(target)


def _untar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as file:
        file.extractall(target, filter="data")
