"""TLS between a cluster and its endpoints: what the rule says, else automatic (pilot.md G5, G6)."""

from collections.abc import Sequence
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from google.protobuf.struct_pb2 import Struct, Value

from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings, TrafficPolicy
from mast.pilot.core import names
from mast.pilot.core.clusters.cluster_metadata import keep_alpn
from mast.pilot.core.clusters.destination_rules import Rule
from mast.pilot.core.clusters.endpoints import ISTIO, TLS_MODE, Destination
from mast.pilot.core.clusters.pools import Upstream
from mast.pilot.core.model.model import Service
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.peer_authentication import Mode, called_policies
from mast.pilot.core.security.transport_sockets import client, mesh_client, raw

_PROXY_PROTOCOL: Final = "envoy.transport_sockets.upstream_proxy_protocol"
_ALPN: Final = {
    Upstream.TCP: names.MTLS_TCP,
    Upstream.HTTP_1: names.MTLS_HTTP_1,
    Upstream.HTTP_2: names.MTLS_HTTP_2,
    Upstream.AS_DOWNSTREAM: names.MTLS_TCP,
}
"""Offered within the mesh (pilot.md E11). Where the protocol is that of the client, HTTP routes
replace it request by request; what is left is what a TCP proxy sends."""


def apply_client_tls(
    cluster: Cluster,
    destination: Destination,
    policy: TrafficPolicy,
    upstream: Upstream,
    scope: Scope,
    proxy: Proxy,
) -> None:
    """Set the transport sockets of an outbound cluster; none means plain text."""
    if policy.HasField("tls"):
        _apply_settings(cluster, destination, policy.tls, upstream, scope, proxy)
    elif is_automatic(scope, destination):
        socket = _mesh_socket(destination, ClientTLSSettings(), upstream, scope, proxy)
        if cluster.type == Cluster.ORIGINAL_DST:
            if all_accept(scope, destination):
                cluster.transport_socket.CopyFrom(socket)
        else:
            cluster.transport_socket_matches.add(
                name="tlsMode-istio",
                match=Struct(fields={TLS_MODE: Value(string_value=ISTIO)}),
                transport_socket=socket,
            )
            cluster.transport_socket_matches.add(
                name="tlsMode-disabled", match=Struct(), transport_socket=raw()
            )
    if policy.HasField("proxy_protocol"):
        _wrap(cluster, policy.proxy_protocol)


def needs_auto_sni(policy: TrafficPolicy) -> bool:
    """Plain TLS without a server name takes it from the request (pilot.md G5)."""
    return not policy.tls.sni and policy.tls.mode in (
        ClientTLSSettings.SIMPLE,
        ClientTLSSettings.MUTUAL,
    )


def verifies_name(policy: TrafficPolicy) -> bool:
    """The certificate must be for the server name unless other names are given (pilot.md G5)."""
    settings = policy.tls
    return not settings.subject_alt_names and not settings.insecure_skip_verify.value


def is_automatic(scope: Scope, destination: Destination) -> bool:
    """Callers without TLS settings use mutual TLS with whichever endpoint can (pilot.md G6).

    Differs from Istio: also in a namespace that switches it off, if some workloads or ports there
    take it. The metadata of endpoints tells which.
    """
    if destination.service.external or not scope.mesh.auto_mtls:
        return False
    return modes(scope, destination) != {Mode.DISABLE}


def identities(scope: Scope, service: Service) -> Sequence[str]:
    """SPIFFE IDs that endpoints of a service may have, under each alias of the trust domain."""
    accounts = (*scope.identities(service.key).accounts, *service.service_accounts)
    found = {
        names.spiffe(trust_domain, namespace, account)
        for trust_domain in scope.mesh.trust_domains
        for namespace, account in accounts
    }
    return sorted(found.union(service.subject_alt_names))


def all_accept(scope: Scope, destination: Destination) -> bool:
    """Every endpoint accepts mutual TLS, where callers cannot tell them apart (pilot.md G6)."""
    able = scope.identities(destination.service.key).mtls
    return able and Mode.DISABLE not in modes(scope, destination)


def modes(scope: Scope, destination: Destination) -> frozenset[Mode]:
    """All that servers of a destination may be told to do about mutual TLS."""
    service = destination.service
    return called_policies(scope, service.namespace).modes(service, destination.port)


def _apply_settings(
    cluster: Cluster,
    destination: Destination,
    settings: ClientTLSSettings,
    upstream: Upstream,
    scope: Scope,
    proxy: Proxy,
) -> None:
    if settings.mode == ClientTLSSettings.ISTIO_MUTUAL:
        socket = _mesh_socket(destination, settings, upstream, scope, proxy)
        cluster.transport_socket.CopyFrom(socket)
    elif settings.mode in (ClientTLSSettings.SIMPLE, ClientTLSSettings.MUTUAL):
        credential = _credential(settings, destination.rule, proxy)
        if settings.credential_name and not credential:
            settings = ClientTLSSettings(mode=ClientTLSSettings.SIMPLE, sni=settings.sni)
        alpn = ("h2",) if upstream is Upstream.HTTP_2 else ()
        defaults = scope.mesh.config.tls_defaults
        cluster.transport_socket.CopyFrom(
            client(settings, defaults, credential=credential, alpn=alpn)
        )
        keep_alpn(cluster)


def _mesh_socket(
    destination: Destination,
    settings: ClientTLSSettings,
    upstream: Upstream,
    scope: Scope,
    proxy: Proxy,
) -> TransportSocket:
    service = destination.service
    sni = names.sni(destination.port.number, destination.subset, service.host)
    return mesh_client(
        proxy,
        sni=settings.sni or sni,
        identities=list(settings.subject_alt_names) or identities(scope, service),
        alpn=_ALPN[upstream],
    )


def _credential(settings: ClientTLSSettings, rule: Rule | None, proxy: Proxy) -> str:
    """SDS name of `credentialName`, empty if there is none that the proxy may use (pilot.md G5).

    Sidecars may use those of rules that are meant for them alone, and public ones.
    """
    name = settings.credential_name
    if not name:
        return ""
    private = rule is not None and rule.selects_callers
    if proxy.type is ProxyType.SIDECAR and not private and not name.startswith("configmap://"):
        return ""
    return names.kubernetes_credential(name)


def _wrap(cluster: Cluster, settings: TrafficPolicy.ProxyProtocol) -> None:
    """Put the PROXY protocol before whatever the cluster speaks (pilot.md G7)."""
    version = ProxyProtocolConfig.V1
    if settings.version == TrafficPolicy.ProxyProtocol.V2:
        version = ProxyProtocolConfig.V2
    for match in cluster.transport_socket_matches:
        match.transport_socket.CopyFrom(_wrapped(match.transport_socket, version))
    if not cluster.transport_socket_matches:
        inner = cluster.transport_socket if cluster.HasField("transport_socket") else raw()
        cluster.transport_socket.CopyFrom(_wrapped(inner, version))


def _wrapped(
    inner: TransportSocket, version: ProxyProtocolConfig.Version.ValueType
) -> TransportSocket:
    config = ProxyProtocolUpstreamTransport(
        config=ProxyProtocolConfig(version=version), transport_socket=inner
    )
    return TransportSocket(name=_PROXY_PROTOCOL, typed_config=packed(config))
