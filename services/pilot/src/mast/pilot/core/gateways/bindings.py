"""Hosts of Gateway servers: which VirtualServices may bind to them, and to what (pilot.md I2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mast.pilot.core.model import hosts

ANY_NAMESPACE: Final = "*"


@dataclass(frozen=True, slots=True)
class Binding:
    """VirtualServices of a namespace, `*` for all, may bind to what `host` covers."""

    namespace: str
    host: str

    def admits(self, namespace: str) -> bool:
        """VirtualServices of that namespace may bind."""
        return self.namespace in (ANY_NAMESPACE, namespace)


def binding(text: str, owner: str) -> Binding:
    """An entry of `hosts` in a Gateway of namespace `owner`: `NS/HOST`, `./HOST` or `HOST`."""
    namespace, slash, host = text.rpartition("/")
    if not slash:
        return Binding(ANY_NAMESPACE, host)
    return Binding(owner if namespace == "." else namespace, host)


def common_hosts(
    bindings: Iterable[Binding], names: Iterable[str], namespace: str
) -> tuple[str, ...]:
    """Hosts that bindings and the hosts of a VirtualService of that namespace have in common (F8).

    Of two patterns, one of which covers the other, the narrower one.
    """
    names = list(names)
    found = (
        host
        for each in bindings
        if each.admits(namespace)
        for name in names
        if (host := narrower(each.host, name))
    )
    return tuple(dict.fromkeys(found))


def narrower(one: str, other: str) -> str:
    """The host of the two that the other covers, empty if neither does."""
    if hosts.matches(one, other):
        return other
    return one if hosts.matches(other, one) else ""
