"""A request in the proxy of the workload that it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from mast.cli.envoy.configuration import connection_manager
from mast.cli.explain import chains
from mast.cli.explain.access import Author, guarded
from mast.cli.explain.http import through_manager
from mast.cli.explain.policies import of_connections, of_requests
from mast.cli.explain.rbac import Arrival
from mast.cli.explain.routing import Share
from mast.cli.explain.site import Side, Surroundings
from mast.cli.explain.story import Cause, Story
from mast.cli.explain.traffic import TLS, Connection, Request
from mast.cli.inspect.clusters import cluster_type
from mast.cli.inspect.listeners import match_text
from mast.cli.inspect.tables import address_text
from mast.pilot.core import names
from mast.pilot.core.model import collection_names


def arrive(
    connection: Connection,
    request: Request | None,
    side: Side,
    around: Surroundings,
    story: Story,
) -> None:
    """Tell what the proxy of a workload does with a connection that reaches it."""
    policies = of_requests(side, around.causes, connection.port)
    story.tell("arrives at", side.node.id, (), [*policies, *_patches(side, around)])
    listener = _listener(connection, side)
    if listener is None:
        story.tell("listener", f"{connection.address}:{connection.port} is not led to the proxy")
        return
    chain = chains.filter_chain(listener, connection)
    causes = list(of_connections(side, around.causes, connection.port))
    story.tell("listener", f"{listener.name} at {address_text(listener.address)}")
    offered = f"protocols {', '.join(connection.alpns)}" if connection.alpns else "no protocols"
    what = f"{'TLS' if connection.transport == TLS else 'plain text'}, {offered}"
    if chain is None:
        story.status = story.status or 503
        story.tell("chain", "closed: no filter chain takes this", [what], causes)
        return
    secured = chain.transport_socket.typed_config.Is(DownstreamTlsContext.DESCRIPTOR)
    ends = ["mutual TLS ends here"] if secured else []
    text = f"{chain.name}: {match_text(chain.filter_chain_match)}"
    story.tell("chain", text, [what, *ends], causes)
    _to_program(chain, connection, request, secured=secured, side=side, around=around, story=story)


def _patches(side: Side, around: Surroundings) -> Sequence[Cause]:
    return around.causes.selecting(
        collection_names.ENVOY_FILTERS, side.proxy.namespace, side.proxy.labels
    )


def _listener(connection: Connection, side: Side) -> Listener | None:
    listeners = side.configuration.listeners
    if side.captures:
        return listeners.get(names.VIRTUAL_INBOUND)
    return chains.bound_to(listeners.values(), connection.address, connection.port)


def _to_program(
    chain: FilterChain,
    connection: Connection,
    request: Request | None,
    *,
    secured: bool,
    side: Side,
    around: Surroundings,
    story: Story,
) -> None:
    author = Author(around.causes, side.proxy.namespace)
    if guarded(chain.filters, Arrival(connection), author, story) is None:
        return
    manager = connection_manager(chain)
    shares: Sequence[Share] = ()
    if manager is not None and request is not None:
        scheme = "https" if secured else "http"
        asked = replace(request, scheme=scheme, mutual_tls=secured)
        shares, _ = through_manager(manager, asked, connection, side, around, story)
    else:
        for each in chain.filters:
            proxy = TcpProxy()
            if each.typed_config.Unpack(proxy):
                shares = [Share(proxy.cluster, 100)]
    for share in shares:
        cluster = side.configuration.clusters.get(share.cluster)
        kind = f" ({cluster_type(cluster)})" if cluster is not None else ""
        where = f"{connection.address}:{connection.port}"
        for locality in cluster.load_assignment.endpoints if cluster is not None else ():
            for endpoint in locality.lb_endpoints:
                where = address_text(endpoint.endpoint.address)
        story.tell("program", f"{share.cluster}{kind}, at {where}")
