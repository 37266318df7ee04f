"""Lines of statsd in UDP packets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from mast.mixer.core.adapter import AdapterError
from mast.mixer.core.values import Duration, Value

PORTS = range(1, 65_536)


class Datagrams:
    """Packets to one address; what nobody listens to is lost, as UDP has it."""

    def __init__(self, address: str) -> None:
        """``HOST:PORT``."""
        host, _, port = address.rpartition(":")
        self._at = host.strip("[]"), int(port)
        self._transport: asyncio.DatagramTransport | None = None

    async def send(self, lines: Sequence[str]) -> None:
        """One packet of lines; OSError if the name does not resolve."""
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=self._at
            )
        self._transport.sendto("\n".join(lines).encode())

    def close(self) -> None:
        """Let go of the socket."""
        if self._transport is not None:
            self._transport.close()


def address_problem(address: str) -> str:
    """Why an address is none, "" if it is one."""
    host, colon, port = address.rpartition(":")
    if colon and host and port.isascii() and port.isdigit() and int(port) in PORTS:
        return ""
    return f"address: {address!r} is not HOST:PORT"


def counted(name: str, value: Value | None) -> int:
    """A value that counts; AdapterError if it is no integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise AdapterError(f"metric {name}: value {value!r} is no INT64")


def milliseconds(value: Duration) -> str:
    """A timing as statsd has it."""
    return f"{value.ns / 1_000_000:.6f}".rstrip("0").rstrip(".")


def rate_problem(name: str, rate: Any) -> str:
    """Why a share is none, "" if it is one."""
    return "" if 0 <= rate <= 1 else f"{name}: {rate:g} is not between 0 and 1"
