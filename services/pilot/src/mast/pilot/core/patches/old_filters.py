"""EnvoyFilters as Istio 1.0 to 1.2 had them: `filters` to insert, in terms of patches."""

from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.extensions import HTTP_FILTERS, NETWORK_FILTERS, canonical, config_type
from mast.common.envoy.types import PREFIX

_MANAGER: Final = "envoy.filters.network.http_connection_manager"
_LAST_OF_HTTP: Final = ("envoy.filters.http.router",)
_LAST_OF_NETWORK: Final = (_MANAGER, "envoy.filters.network.tcp_proxy")
_CONTEXTS: Final = {
    EnvoyFilter.DeprecatedListenerMatch.ANY: EnvoyFilter.ANY,
    EnvoyFilter.DeprecatedListenerMatch.SIDECAR_INBOUND: EnvoyFilter.SIDECAR_INBOUND,
    EnvoyFilter.DeprecatedListenerMatch.SIDECAR_OUTBOUND: EnvoyFilter.SIDECAR_OUTBOUND,
    EnvoyFilter.DeprecatedListenerMatch.GATEWAY: EnvoyFilter.GATEWAY,
}
_OPERATIONS: Final = {
    EnvoyFilter.InsertPosition.FIRST: EnvoyFilter.Patch.INSERT_FIRST,
    EnvoyFilter.InsertPosition.LAST: EnvoyFilter.Patch.INSERT_BEFORE,
    EnvoyFilter.InsertPosition.BEFORE: EnvoyFilter.Patch.INSERT_BEFORE,
    EnvoyFilter.InsertPosition.AFTER: EnvoyFilter.Patch.INSERT_AFTER,
}


def changes(spec: EnvoyFilter) -> Sequence[EnvoyFilter.EnvoyConfigObjectPatch]:
    """All patches of an EnvoyFilter in their order, those of the old form last."""
    if not spec.filters:
        return spec.config_patches
    return [*spec.config_patches, *(patch for each in spec.filters for patch in _patches(each))]


def _patches(old: EnvoyFilter.Filter) -> Iterator[EnvoyFilter.EnvoyConfigObjectPatch]:
    """The insertion of a filter; what comes last comes before each filter that ends a chain."""
    http = old.filter_type == EnvoyFilter.Filter.HTTP
    position = old.insert_position
    neighbours: Sequence[str] = (position.relative_to,)
    if position.index == EnvoyFilter.InsertPosition.LAST:
        neighbours = _LAST_OF_HTTP if http else _LAST_OF_NETWORK
    elif position.index == EnvoyFilter.InsertPosition.FIRST:
        neighbours = ("",)
    for neighbour in neighbours:
        patch = EnvoyFilter.EnvoyConfigObjectPatch(
            apply_to=EnvoyFilter.HTTP_FILTER if http else EnvoyFilter.NETWORK_FILTER
        )
        patch.match.context = _CONTEXTS[old.listener_match.listener_type]
        patch.match.listener.port_number = old.listener_match.port_number
        filters = patch.match.listener.filter_chain.filter
        if http:
            filters.name = _MANAGER
            filters.sub_filter.name = neighbour
        elif neighbour:
            filters.name = neighbour
        patch.patch.operation = _OPERATIONS[position.index]
        patch.patch.value.CopyFrom(_value(old, HTTP_FILTERS if http else NETWORK_FILTERS))
        yield patch


def _value(old: EnvoyFilter.Filter, category: str) -> Struct:
    """The filter with its settings typed: its name tells their type."""
    of = config_type(category, old.filter_name) or old.filter_name
    settings = {**MessageToDict(old.filter_config), "@type": f"{PREFIX}{of}"}
    name = canonical(category, old.filter_name)
    return ParseDict({"name": name, "typed_config": settings}, Struct())
