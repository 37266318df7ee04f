"""Which sockets a process listens on (proc(5), net/tcp and fd)."""

import re
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTEN = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def listening(pid: int) -> set[tuple[IPv4Address | IPv6Address, int]]:
    """Addresses and ports of the TCP sockets of a process that accept connections."""
    process = Path(f"/proc/{pid}")
    own = set()
    for each in (process / "fd").iterdir():
        with suppress(OSError):
            if found := _SOCKET.fullmatch(str(each.readlink())):
                own.add(found[1])
    return {
        (address, port)
        for table in ("tcp", "tcp6")
        for address, port, inode in _listeners(process / "net" / table)
        if inode in own
    }


def _listeners(table: Path) -> Iterator[tuple[IPv4Address | IPv6Address, int, str]]:
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN:
            host, _, port = fields[1].partition(":")
            # Words of four bytes, each in the order of the machine.
            words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
            address = ip_address(b"".join(words))
            yield getattr(address, "ipv4_mapped", None) or address, int(port, 16), fields[9]
