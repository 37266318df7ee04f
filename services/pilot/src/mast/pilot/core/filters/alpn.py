"""ALPN that a sidecar offers to the sidecar of the server (pilot.md E11).

Stock Envoy has no `istio.alpn` filter. Under its name a `set_filter_state` filter stands, empty by
itself; what a route leads to gives it the ALPN in per-route configuration. A value that does not
fit the protocol of the destination cluster ends in 502 or 503.
"""

from collections.abc import Mapping
from typing import Final

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from google.protobuf.any_pb2 import Any

from mast.pilot.core.names import MTLS_HTTP_1, MTLS_HTTP_2
from mast.pilot.core.packing import packed

ALPN_FILTER: Final = "istio.alpn"

_KEY: Final = "envoy.network.application_protocols"
_HTTP_1: Final = ",".join(MTLS_HTTP_1)
_HTTP_2: Final = ",".join(MTLS_HTTP_2)
_AS_DOWNSTREAM: Final = f"%CEL(request.protocol == 'HTTP/2' ? '{_HTTP_2}' : '{_HTTP_1}')%"


def _per_route(value: str) -> Mapping[str, Any]:
    state = FilterStateValue(
        object_key=_KEY,
        format_string=SubstitutionFormatString(text_format_source=DataSource(inline_string=value)),
        shared_with_upstream=FilterStateValue.ONCE,
    )
    return {ALPN_FILTER: packed(Config(on_request_headers=[state]))}


AS_DOWNSTREAM: Final = _per_route(_AS_DOWNSTREAM)
"""Per-route configuration for clusters that speak HTTP as their client does.

Clusters of one protocol have a fixed ALPN and need none.
"""


def alpn_filter() -> HttpFilter:
    """The filter that takes the per-route configuration."""
    return HttpFilter(name=ALPN_FILTER, typed_config=packed(Config()))
