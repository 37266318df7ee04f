"""Envoy resources that tests send: an inbound listener with mutual TLS, its cluster."""

from __future__ import annotations

from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TrafficDirection, TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.wrappers_pb2 import BoolValue

from mast.agent.core import ads, messages, tls

CDS = f"{ads.PREFIX}envoy.config.cluster.v3.Cluster"
LDS = ads.LDS


def application_cluster(port: int) -> Cluster:
    """A cluster of one program on 127.0.0.1."""
    return messages.cluster(
        "application", messages.socket("127.0.0.1", port), timeout=timedelta(seconds=1)
    )


def inbound_listener(address: str, port: int, *, mutual_tls: bool) -> Listener:
    """HTTP to the cluster ``application``; with mutual TLS by the agent's secrets."""
    route = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster="application"))
    manager = hcm.HttpConnectionManager(
        stat_prefix="inbound",
        route_config=RouteConfiguration(
            virtual_hosts=[VirtualHost(name="inbound", domains=["*"], routes=[route])]
        ),
        http_filters=[
            hcm.HttpFilter(name="router", typed_config=messages.packed(Router())),
        ],
    )
    chain = FilterChain(filters=[Filter(name="http", typed_config=messages.packed(manager))])
    if mutual_tls:
        context = DownstreamTlsContext(require_client_certificate=BoolValue(value=True))
        common = context.common_tls_context
        common.tls_certificate_sds_secret_configs.append(tls.sds(tls.CERTIFICATE))
        common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(
            tls.sds(tls.ROOTS)
        )
        common.combined_validation_context.default_validation_context.SetInParent()
        chain.transport_socket.CopyFrom(
            TransportSocket(name="tls", typed_config=messages.packed(context))
        )
    return Listener(
        name=f"{address}_{port}",
        address=messages.socket(address, port),
        filter_chains=[chain],
        traffic_direction=TrafficDirection.INBOUND,
    )
