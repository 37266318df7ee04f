"""Filters that resolve the host of a request or connection (pilot.md D, SE DYNAMIC_DNS)."""

from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import (
    FilterConfig as HttpConfig,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.sni_dynamic_forward_proxy_pb2 import (  # noqa: E501
    FilterConfig as SniConfig,
)

from mast.pilot.core.clusters.dns import dns_cache
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed

HTTP_FILTER: Final = "envoy.filters.http.dynamic_forward_proxy"
SNI_FILTER: Final = "envoy.filters.network.sni_dynamic_forward_proxy"


def host_resolution(proxy: Proxy) -> HttpFilter:
    """Resolves the host of requests that are routed to a cluster of dynamic hosts, of no others."""
    config = HttpConfig(dns_cache_config=dns_cache(proxy))
    return HttpFilter(name=HTTP_FILTER, typed_config=packed(config))


def server_name_resolution(proxy: Proxy, port: int) -> Filter:
    """Resolves the server name of TLS connections, which then go to that port."""
    config = SniConfig(dns_cache_config=dns_cache(proxy), port_value=port)
    return Filter(name=SNI_FILTER, typed_config=packed(config))
