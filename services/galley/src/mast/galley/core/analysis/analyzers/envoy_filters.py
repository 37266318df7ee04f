"""EnvoyFilters whose patches depend on what was patched before."""

from __future__ import annotations

from collections.abc import Iterator

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.snapshot import Message, View
from mast.galley.core.problem import Path

_RELATIVE, _RELATIVE_BY_VERSION = "IST0151", "IST0155"

# Operations that find their place by what earlier patches left there.
_DEPENDENT = frozenset({"INSERT_BEFORE", "INSERT_AFTER", "REPLACE", "REMOVE", "MERGE"})


def _relative(view: View) -> Iterator[Message]:
    for item in view.of(kinds.ENVOY_FILTER):
        for index, each in enumerate(item.body.config_patches):
            operation = EnvoyFilter.Patch.Operation.Name(each.patch.operation)
            if operation not in _DEPENDENT or item.body.priority:
                continue
            path: Path = ("spec", "configPatches", index, "patch", "operation")
            text = f"{operation} depends on the order of patches: set a priority"
            yield Message(_RELATIVE, item, text, path)
            if version := each.match.proxy.proxy_version:
                text = (
                    f"{operation} for proxies of version {version!r} depends on the order of "
                    "patches: set a priority"
                )
                yield Message(_RELATIVE_BY_VERSION, item, text, path)


ANALYZERS = (
    Analyzer(
        "envoyfilter.order",
        "Patches do not depend on the order in which objects happen to come.",
        frozenset({_RELATIVE, _RELATIVE_BY_VERSION}),
        frozenset({kinds.ENVOY_FILTER}),
        _relative,
    ),
)
