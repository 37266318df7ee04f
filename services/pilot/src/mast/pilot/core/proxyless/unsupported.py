"""What gRPC's own xDS client cannot do: left out, so that it rejects nothing, and told."""

from collections.abc import Iterable

from mast.pilot.core.model.finding import Fault, Finding, ObjectName


class Unsupported(Exception):
    """A part of the configuration that gRPC has nothing for; says which."""


def left_out(where: str, subject: ObjectName | None, parts: Iterable[str]) -> Finding | None:
    """The finding that parts of an object do not count for gRPC clients; None without parts."""
    told = ", ".join(sorted(set(parts)))
    if not told:
        return None
    return Finding(
        fault=Fault.PROXYLESS,
        key=where,
        message=f"gRPC clients without a proxy do without some of what holds for {where}: {told}.",
        subject=subject,
    )
