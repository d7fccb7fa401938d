"""Where a process and everything that it started listens, and what its files and limits look like from outside.

`python -m tests.support.bound PID [FOLDER ...]` prints it.
"""

import contextlib
import ipaddress
import os
import socket
import stat
import sys
from pathlib import Path

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def listeners(pid: int) -> list[tuple[str, str, int]]:
    """(process name, address, port) of every TCP or UDP socket that waits for somebody."""
    rows = set()
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            name = process.name()
            for one in process.net_connections("inet"):
                if one.laddr and one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):
                    rows.add((name, one.laddr.ip, one.laddr.port))
    return sorted(rows)


def is_loopback(address: str) -> bool:
    """Also for IPv4 addresses that IPv6 sockets have."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def own_addresses() -> list[str]:
    """IPv4 addresses of this machine that are not loopback."""
    found = [entry.address for entries in psutil.net_if_addrs().values() for entry in entries]
    return [one for one in found if one.count(".") == 3 and not is_loopback(one)]


def answers(address: str, port: int) -> bool:
    """Whether somebody takes a connection there."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((address, port)) == 0


def open_to_others(folder: Path) -> list[str]:
    """What below a folder another user can reach: nothing, when a folder on the way keeps him out."""
    reachable = []
    for path in [folder, *folder.iterdir()]:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        if stat.S_IMODE(mode) & 0o077:
            reachable.append(f"{stat.filemode(mode)} {path}")
            if path != folder and path.is_dir():
                reachable += open_to_others(path)
        if path == folder and not stat.S_IMODE(mode) & 0o007:
            return []
    return reachable


def core_limits(pid: int) -> set[tuple[str, str]]:
    """The soft and hard limits on core files of the whole tree."""
    found = set()
    for process in tree(pid):
        try:
            lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        except OSError:
            continue
        found |= {tuple(line.split()[4:6]) for line in lines if line.startswith("Max core file size")}
    return found


def main() -> None:
    """Print it."""
    pid = int(sys.argv[1])
    for name, address, port in listeners(pid):
        print(f"{address}:{port} {name}")
    print("core limits", sorted(core_limits(pid)))
    for folder in sys.argv[2:]:
        for top, folders, files in os.walk(folder):
            for name in ["", *folders, *files]:
                path = Path(top, name)
                print(stat.filemode(path.lstat().st_mode), path)


if __name__ == "__main__":
    main()
