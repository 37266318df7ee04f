"""What leaves the machine is encrypted: plaintext is for programs beside us."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Protocol

CONSENT = "plaintext_beyond_loopback"


class Exposable(Protocol):
    """Settings of a service with plaintext ports, or of a client without TLS."""

    @property
    def plaintext_beyond_loopback(self) -> bool:
        """Somebody else keeps strangers away from them, a network policy for example."""


def stays_here(address: str) -> bool:
    """Whether ``host:port``, ``[host]:port`` or ``unix:/path`` is for this machine only."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def keep_plaintext_here(settings: Exposable, *fields: str) -> None:
    """Refuse plaintext ports beyond loopback; empty ones are closed.

    Raises ValueError that names the flag, its value and what is allowed.
    """
    for field in fields:
        address = getattr(settings, field)
        if address and not (settings.plaintext_beyond_loopback or stays_here(address)):
            raise ValueError(_refusal(field, address, "a plaintext port"))


def keep_etcd_here(settings: Exposable, endpoints: Iterable[str], *, encrypted: bool) -> None:
    """Refuse to speak to an etcd elsewhere without TLS; raises ValueError as above."""
    for address in () if encrypted or settings.plaintext_beyond_loopback else endpoints:
        if not stays_here(address):
            raise ValueError(_refusal("etcd_endpoints", address, "etcd without TLS (--etcd-ca)"))


def _refusal(field: str, address: str, what: str) -> str:
    flag, consent = (f"--{each.replace('_', '-')}" for each in (field, CONSENT))
    return f"{flag} {address}: {what} must be on a loopback address, unless {consent} is true"
