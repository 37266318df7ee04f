"""Header operations of VirtualServices as Envoy header mutations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost, WeightedCluster

from istio.networking.v1alpha3.virtual_service_pb2 import Headers
from mast.pilot.core.format_strings import format_string

_HOST: Final = frozenset({"host", ":authority"})

ADD: Final = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
SET: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@dataclass(frozen=True, kw_only=True)
class HeaderMutations:
    """What Envoy adds to and removes from a request and its response; removals come first."""

    request_add: tuple[HeaderValueOption, ...] = ()
    request_remove: tuple[str, ...] = ()
    response_add: tuple[HeaderValueOption, ...] = ()
    response_remove: tuple[str, ...] = ()
    host: str = field(default="")
    """New value of the host header, which Envoy rewrites as part of routing; empty keeps it."""

    def apply(self, target: Route | WeightedCluster.ClusterWeight | VirtualHost) -> None:
        """Append the mutations of headers, not the host rewrite, to those of a target."""
        target.request_headers_to_add.extend(self.request_add)
        target.request_headers_to_remove.extend(self.request_remove)
        target.response_headers_to_add.extend(self.response_add)
        target.response_headers_to_remove.extend(self.response_remove)


def header_mutations(headers: Headers) -> HeaderMutations:
    """The mutations of one `headers` block, sorted by name, set before add (pilot.md F).

    Pseudo-headers cannot be changed this way: the host becomes `host`, others are ignored.
    """
    return HeaderMutations(
        request_add=tuple(_additions(headers.request)),
        request_remove=tuple(filter(_ordinary, headers.request.remove)),
        response_add=tuple(_additions(headers.response)),
        response_remove=tuple(filter(_ordinary, headers.response.remove)),
        host=_host(headers.request.set) or _host(headers.request.add),
    )


def header_addition(
    name: str, value: str, action: "HeaderValueOption.HeaderAppendAction.ValueType"
) -> HeaderValueOption:
    """One header that Envoy adds with the append action given."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=format_string(value)), append_action=action
    )


def _additions(operations: Headers.HeaderOperations) -> Iterator[HeaderValueOption]:
    for values, action in ((operations.set, SET), (operations.add, ADD)):
        for name in filter(_ordinary, sorted(values)):
            yield header_addition(name, values[name], action)


def _ordinary(name: str) -> bool:
    return not name.startswith(":") and name.lower() not in _HOST


def _host(values: Mapping[str, str]) -> str:
    return next((values[name] for name in sorted(values) if name.lower() in _HOST), "")
