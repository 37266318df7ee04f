"""Who this proxy is: Envoy's node with Istio's metadata, and the workload's identity."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToDict

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.common.identity.spiffe import SpiffeId

ISTIO_VERSION: Final = "1.30.3"
"""The Istio release whose proxies this one equals; EnvoyFilters match on it (pilot.md K2)."""

META: Final = "ISTIO_META_"
METAJSON: Final = "ISTIO_METAJSON_"
HASH_LABEL: Final = "pod-template-hash"
LOCALITY_LABELS: Final = ("topology.istio.io/locality", "istio-locality")
NAMED: Final = frozenset({"LABELS", "ANNOTATIONS"})
OBJECTS: Final = frozenset({"APP_ENDPOINTS"})
"""Metadata given as JSON text in ``ISTIO_META_X`` and sent as an object (Mast's own)."""


class Locality(NamedTuple):
    """Where the proxy runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What flags, variables, the machine and the pod's files say of the workload.

    ``env`` is read for ISTIO_META_ and ISTIO_METAJSON_ variables only. Empty text: not said.
    """

    env: Mapping[str, str]
    hostname: str
    role: str = "sidecar"
    domain: str = ""
    service_cluster: str = ""
    sts_port: int = 0
    instance_ip: str = ""
    pod_name: str = ""
    namespace: str = ""
    service_account: str = ""
    trust_domain: str = "cluster.local"
    status_port: int = 15021
    prometheus_port: int = 15090
    exit_on_zero: bool = False
    addresses: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One proxy (citadel-and-agent.md B1, pilot.md A1). ``metadata`` holds JSON values."""

    id: str
    role: str
    cluster: str
    namespace: str
    service_account: str
    trust_domain: str
    dns_domain: str
    ip_addresses: tuple[str, ...]
    locality: Locality
    metadata: Mapping[str, Any]

    @property
    def spiffe_id(self) -> str:
        """The identity its certificate carries (citadel-and-agent.md A3)."""
        return str(SpiffeId(self.trust_domain, self.namespace, self.service_account))

    @property
    def ipv6_only(self) -> bool:
        """No address is IPv4."""
        return all(ip_address(each).version == 6 for each in self.ip_addresses)

    @property
    def cluster_id(self) -> str:
        """The registry shard the workload belongs to."""
        return str(self.metadata.get("CLUSTER_ID", ""))


def node(place: Surroundings, proxy_config: ProxyConfig) -> Node:
    """The proxy that its surroundings and ProxyConfig describe.

    Raises ValueError that names the variable if metadata in JSON cannot be read.
    """
    namespace = place.namespace or "default"
    service_account = place.service_account or "default"
    name = place.pod_name or place.hostname
    domain = place.domain or f"{namespace}.svc.cluster.local"
    metadata = _from_environment(place.env)
    addresses = _addresses(metadata, proxy_config, place)
    static = _text_map(metadata.pop("LABELS", {}), "LABELS")
    pod_labels = {key: value for key, value in place.labels.items() if key != HASH_LABEL}
    labels = {**static, **pod_labels}
    locality_text = next((labels[key] for key in LOCALITY_LABELS if key in labels), "")
    metadata |= {
        "NAME": name,
        "NAMESPACE": namespace,
        "SERVICE_ACCOUNT": service_account,
        "INSTANCE_IPS": ",".join(addresses),
        "INTERCEPTION_MODE": interception_mode(metadata, proxy_config),
        "ENVOY_STATUS_PORT": place.status_port,
        "ENVOY_PROMETHEUS_PORT": place.prometheus_port,
        "PROXY_CONFIG": MessageToDict(proxy_config),
        "PILOT_SAN": [proxy_config.discovery_address.rpartition(":")[0]],
    }
    optional = {
        "LABELS": labels,
        "STATIC_LABELS": static,
        "ANNOTATIONS": {
            **_text_map(metadata.get("ANNOTATIONS", {}), "ANNOTATIONS"),
            **place.annotations,
        },
        "MESH_ID": metadata.get("MESH_ID") or proxy_config.mesh_id,
        "STS_PORT": str(place.sts_port) if place.sts_port else "",
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true" if place.exit_on_zero else "",
    }
    metadata |= {key: value for key, value in optional.items() if value}
    metadata.setdefault("ISTIO_VERSION", ISTIO_VERSION)
    return Node(
        id=f"{place.role}~{addresses[0]}~{name}.{namespace}~{domain}",
        role=place.role,
        cluster=place.service_cluster or cluster(proxy_config, metadata, labels, namespace),
        namespace=namespace,
        service_account=service_account,
        trust_domain=place.trust_domain,
        dns_domain=domain,
        ip_addresses=addresses,
        locality=Locality(*locality_text.replace(".", "/").split("/", 2)),
        metadata=metadata,
    )


def envoy_environment(env: Mapping[str, str], proxy: Node) -> dict[str, str]:
    """Variables for Envoy: the agent's, and who the proxy is where those do not say.

    Pilot's configuration refers to them, so that all pods of a deployment can share it.
    """
    told = {
        "POD_NAME": proxy.metadata["NAME"],
        "POD_NAMESPACE": proxy.namespace,
        "INSTANCE_IP": proxy.ip_addresses[0],
        f"{META}ISTIO_VERSION": proxy.metadata["ISTIO_VERSION"],
        f"{META}MESH_ID": proxy.metadata.get("MESH_ID", ""),
    }
    return {**env, **{name: str(text) for name, text in told.items() if text and not env.get(name)}}


def cluster(
    proxy_config: ProxyConfig,
    metadata: Mapping[str, Any],
    labels: Mapping[str, str],
    namespace: str,
) -> str:
    """``node.cluster``: of ProxyConfig, else APP.NS, WORKLOAD.NS, istio-proxy.NS (B5).

    ``tracing_service_name`` takes the canonical service instead (Istio ProxyConfig).
    """
    workload = str(metadata.get("WORKLOAD_NAME", ""))
    by_label = f"{labels.get('app') or workload or 'istio-proxy'}.{namespace}"
    choice = proxy_config.WhichOneof("cluster_name")
    if choice == "tracing_service_name":
        names = ProxyConfig.TracingServiceName
        canonical = (
            labels.get("service.istio.io/canonical-name")
            or labels.get("app.kubernetes.io/name")
            or labels.get("app")
            or workload
            or "istio-proxy"
        )
        if proxy_config.tracing_service_name == names.CANONICAL_NAME_ONLY:
            return canonical
        if proxy_config.tracing_service_name == names.CANONICAL_NAME_AND_NAMESPACE:
            return f"{canonical}.{namespace}"
    if proxy_config.service_cluster not in {"", "istio-proxy"}:
        return proxy_config.service_cluster
    return by_label


def interception_mode(metadata: Mapping[str, Any], proxy_config: ProxyConfig) -> str:
    """REDIRECT, TPROXY or NONE: of the metadata, else of ProxyConfig."""
    given = str(metadata.get("INTERCEPTION_MODE", ""))
    return given or ProxyConfig.InboundInterceptionMode.Name(proxy_config.interception_mode)


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of ``ISTIO_META_X`` (text) and ``ISTIO_METAJSON_X`` (objects merged in).

    The X of the latter is without meaning but for LABELS and ANNOTATIONS: there the object may be
    the labels themselves (citadel-and-agent.md B1).
    """
    found: dict[str, Any] = {}
    for variable in sorted(env):
        if variable.startswith(META):
            key = variable.removeprefix(META)
            found[key] = _object(variable, env[variable]) if key in OBJECTS else env[variable]
    for variable in sorted(env):
        if variable.startswith(METAJSON):
            key = variable.removeprefix(METAJSON)
            value = _object(variable, env[variable])
            found |= {key: value} if key in NAMED and key not in value else value
    return found


def _object(variable: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"environment variable {variable}: no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"environment variable {variable}: want a JSON object, got {text!r}")
    return value


def _text_map(value: Any, key: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"metadata {key}: want a JSON object of texts, got {value!r}")
    return {str(name): str(text) for name, text in value.items()}


def _addresses(
    metadata: Mapping[str, Any], proxy_config: ProxyConfig, place: Surroundings
) -> tuple[str, ...]:
    """INSTANCE_IP first, then the machine's own; private ones before others, at least 127.0.0.1.

    Differs from Istio: metadata INSTANCE_IPS is taken as it is, and with interception mode NONE
    INSTANCE_IP stands alone, because there several workloads share one machine.
    """
    explicit = [each.strip() for each in str(metadata.get("INSTANCE_IPS", "")).split(",")]
    own = [place.instance_ip] if place.instance_ip else []
    if any(explicit):
        found = own + explicit
    elif own and interception_mode(metadata, proxy_config) == "NONE":
        found = own
    else:
        usable = [each for each in place.addresses if _usable(each)]
        found = own + sorted(usable, key=lambda each: not ip_address(each).is_private)
    unique = tuple(dict.fromkeys(str(ip_address(each)) for each in found if each))
    return unique or ("127.0.0.1",)


def _usable(address: str) -> bool:
    parsed = ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_multicast)


def downward_api(text: str) -> dict[str, str]:
    """Labels or annotations as the kubelet writes them: ``key="quoted value"`` a line.

    Raises ValueError that names the line if a value is not quoted.
    """
    found = {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if not separator:
            continue
        try:
            unquoted = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"pod file line {line!r}: value is not quoted") from error
        found[key] = str(unquoted)
    return found
