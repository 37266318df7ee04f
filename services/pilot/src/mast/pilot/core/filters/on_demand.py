"""Virtual hosts and clusters that a proxy asks for when a request needs them (pilot.md B25)."""

from datetime import timedelta
from typing import Final

from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.route.v3.route_pb2 import Vhds
from envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand, OnDemandCds
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from google.protobuf.duration_pb2 import Duration

from mast.pilot.core.packing import packed

ON_DEMAND_FILTER: Final = "envoy.filters.http.on_demand"

_CLUSTER_WAIT: Final = timedelta(seconds=5)
_FIRST_FETCH: Final = timedelta(milliseconds=100)
"""The first subscription names nothing, and no answer to it ends the wait (pilot.md B25)."""


def on_demand_filter() -> HttpFilter:
    """Holds a request until its virtual host and its cluster are there.

    It begins such a request anew, so filters before it would see it twice.
    """
    clusters = OnDemandCds(source=_ads())
    clusters.timeout.FromTimedelta(_CLUSTER_WAIT)
    return HttpFilter(name=ON_DEMAND_FILTER, typed_config=packed(OnDemand(odcds=clusters)))


def virtual_host_discovery() -> Vhds:
    """Where virtual hosts come from that a route configuration does not have."""
    source = _ads()
    source.initial_fetch_timeout.CopyFrom(Duration())
    source.initial_fetch_timeout.FromTimedelta(_FIRST_FETCH)
    return Vhds(config_source=source)


def _ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
