"""Which route configurations a listener asks for: clusters stay until these are there (B17)."""

from collections.abc import Iterator

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)


def route_configurations(listener: Listener) -> Iterator[str]:
    """Names that its HTTP connection managers get their routes by; repeated if several do."""
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for each in chain.filters:
            manager = HttpConnectionManager()
            if each.typed_config.Unpack(manager) and manager.rds.route_config_name:
                yield manager.rds.route_config_name
