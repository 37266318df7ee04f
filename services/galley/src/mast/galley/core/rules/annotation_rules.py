"""Annotations that Istio gives a meaning (galley-and-kubernetes.md B1, metadata)."""

from __future__ import annotations

from collections.abc import Iterator

from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding
from mast.galley.core.rules.security import DRY_RUN

_REFUSED = frozenset(
    {
        "internal.istio.io/parents",
        "internal.istio.io/parent-namespace",
        "internal.istio.io/webhook-always-reject",
    }
)


def check(obj: ConfigObject) -> Iterator[Finding]:
    """Internal ones are refused; a dry run is a boolean on an AuthorizationPolicy."""
    for name, value in obj.meta.annotations.items():
        at = ("metadata", "annotations", name)
        if name in _REFUSED:
            yield Finding(at, "annotation", f"{name!r} is internal and must not be given")
        elif name == DRY_RUN and obj.kind.name != "AuthorizationPolicy":
            yield Finding(at, "dry-run", "a dry run is only possible for an AuthorizationPolicy")
        elif name == DRY_RUN and value not in {"true", "false"}:
            message = f"{value!r} is not a boolean; allowed: true, false"
            yield Finding(at, "dry-run", message)
