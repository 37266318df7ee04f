"""Names on the wire (pilot.md C): what dashboards, EnvoyFilters and other proxies rely on."""

import re
from typing import Final, NamedTuple

from mast.pilot.core.model.model import ConfigMeta

BLACK_HOLE: Final = "BlackHoleCluster"
PASSTHROUGH: Final = "PassthroughCluster"
INBOUND_PASSTHROUGH: Final = "InboundPassthroughCluster"

VIRTUAL_OUTBOUND: Final = "virtualOutbound"
VIRTUAL_INBOUND: Final = "virtualInbound"
OUTBOUND_BLACK_HOLE_CHAIN: Final = "virtualOutbound-blackhole"
OUTBOUND_CATCH_ALL_CHAIN: Final = "virtualOutbound-catchall-tcp"
PASSTHROUGH_CHAIN: Final = "PassthroughFilterChain"
INBOUND_BLACK_HOLE_CHAIN: Final = "virtualInbound-blackhole"
INBOUND_CATCH_ALL_HTTP_CHAIN: Final = "virtualInbound-catchall-http"

ALLOW_ANY: Final = "allow_any"
BLOCK_ALL: Final = "block_all"
HTTP_PROXY: Final = "http_proxy"
DEFAULT_ROUTE: Final = "default"

SDS_CERTIFICATE: Final = "default"
SDS_ROOTS: Final = "ROOTCA"
SDS_CA_SUFFIX: Final = "-cacert"
SYSTEM_ROOTS: Final = "system"
"""Stands for the file with the roots that the proxy's machine trusts."""

PEER_EXCHANGE: Final = "istio-peer-exchange"
ISTIO: Final = "istio"
MTLS_HTTP_1: Final = ("istio-http/1.1", "istio", "http/1.1")
MTLS_HTTP_2: Final = ("istio-h2", "istio", "h2")
MTLS_TCP: Final = (PEER_EXCHANGE, ISTIO)
ISTIO_HTTP_ALPNS: Final = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""ALPN values (pilot.md C1, E11)."""


class ClusterName(NamedTuple):
    """The parts of an outbound cluster name."""

    port: int
    subset: str
    host: str


def outbound_cluster(port: int, subset: str, host: str) -> str:
    """Name of the cluster, and of its EDS assignment, that leads to a service port."""
    return f"outbound|{port}|{subset}|{host}"


def parse_outbound_cluster(name: str) -> ClusterName | None:
    """The parts of `outbound|PORT|SUBSET|HOST` or of its SNI form, None for any other name."""
    for separator in ("|", "_."):
        parts = name.split(separator, 3)
        if len(parts) == 4 and parts[0] == "outbound" and parts[1].isdecimal():
            return ClusterName(int(parts[1]), parts[2], parts[3])
    return None


def inbound_cluster(port: int) -> str:
    """Name of the cluster that leads to a port of the proxy's own workload."""
    return f"inbound|{port}||"


def sni(port: int, subset: str, host: str) -> str:
    """Server name of mesh mutual TLS, and name of the SNI-DNAT cluster."""
    return f"outbound_.{port}_.{subset}_.{host}"


def listener(address: str, port: int) -> str:
    """Name of a listener bound to an address."""
    return f"{address}_{port}"


def quic_listener(address: str, port: int) -> str:
    """Name of the HTTP/3 listener of a gateway."""
    return f"udp_{listener(address, port)}"


def inbound_chain(port: int) -> str:
    """Name of the filter chains of an inbound port."""
    return f"0.0.0.0_{port}"


def virtual_host(host: str, port: int) -> str:
    """Name of the virtual host of a service port."""
    return f"{host}:{port}"


def inbound_virtual_host(port: int) -> str:
    """Name of the only virtual host of an inbound route configuration; the *service* port."""
    return f"inbound|http|{port}"


def gateway_http_route(port: int, bind: str = "") -> str:
    """Route configuration of the plain HTTP servers on a gateway port."""
    return f"http.{port}" + (f".{bind}" if bind else "")


def gateway_https_route(
    port: int, port_name: str, gateway: str, namespace: str, bind: str = ""
) -> str:
    """Route configuration of one HTTPS server of a Gateway."""
    return f"https.{port}.{port_name}.{gateway}.{namespace}" + (f".{bind}" if bind else "")


def gateway_black_hole(port: int) -> str:
    """Virtual host of a gateway port that has no routes."""
    return f"blackhole:{port}"


def stat_prefix(direction: str, address: str, port: int) -> str:
    """Statistics prefix of an HTTP connection manager: `outbound_0.0.0.0_80;`."""
    return f"{direction}_{address}_{port};"


def spiffe(trust_domain: str, namespace: str, service_account: str) -> str:
    """SPIFFE ID of a workload (SPIFFE ID §2, Istio's path form)."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


def alt_stat_name(
    template: str,
    *,
    cluster: str,
    host: str,
    service: str,
    port: int,
    port_name: str,
    subset: str = "",
    target_port: int = 0,
) -> str:
    """Statistics name of a cluster, ended by `;` so that the stats-tag regex finds it (C2).

    The template is MeshConfig's in- or outboundClusterStatName; empty means the cluster name.
    `service` is the short form `NAME.NAMESPACE`.
    """
    values = {
        "%SERVICE%": service,
        "%SERVICE_FQDN%": host,
        "%SERVICE_PORT%": str(port),
        "%SERVICE_PORT_NAME%": port_name,
        "%TARGET_PORT%": str(target_port),
        "%SUBSET_NAME%": subset,
    }
    text = template or cluster
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return f"{text};"


def config_reference(meta: ConfigMeta) -> str:
    """Path of a configuration object in cluster and route metadata (C3)."""
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", meta.kind).lower()
    return f"/apis/{meta.group}/{meta.api_version}/namespaces/{meta.namespace}/{kebab}/{meta.name}"


def file_certificate(chain: str, key: str) -> str:
    """SDS name of a certificate in files of the proxy's machine."""
    return f"file-cert:{chain}~{key}"


def file_roots(path: str, revocations: str = "") -> str:
    """SDS name of trusted roots in a file of the proxy's machine, `SYSTEM_ROOTS` for its own.

    A file with revocations of their certificates goes with them.
    """
    return f"file-root:{path}~{revocations}" if revocations else f"file-root:{path}"


def kubernetes_credential(name: str) -> str:
    """SDS name of a `credentialName`; a complete SDS name stays as it is."""
    return name if "://" in name else f"kubernetes://{name}"


def is_credential(name: str) -> bool:
    """The SDS name is one that Pilot serves, or nobody; the agent serves all others."""
    return "://" in name and not name.startswith(("file-cert:", "file-root:"))


def roots_credential(name: str) -> str:
    """SDS name of the roots that a `credentialName` has or stands for (pilot.md I5)."""
    return kubernetes_credential(name).removesuffix(SDS_CA_SUFFIX) + SDS_CA_SUFFIX
