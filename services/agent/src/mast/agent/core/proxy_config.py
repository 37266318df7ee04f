"""The ProxyConfig that holds for this proxy: defaults and overlays, merged field by field."""

import math
from collections.abc import Mapping
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig

CONFIG_ANNOTATION: Final = "proxy.istio.io/config"

DEFAULTS: Final[Mapping[str, Any]] = {
    "configPath": "./etc/istio/proxy",
    "serviceCluster": "istio-proxy",
    "discoveryAddress": "istiod.istio-system.svc:15012",
    "controlPlaneAuthPolicy": "MUTUAL_TLS",
    "statNameLength": 189,
    "statusPort": 15020,
    "proxyAdminPort": 15000,
    "fileFlushInterval": "1s",
    "fileFlushMinSizeKb": 64,
    "drainDuration": "45s",
    "terminationDrainDuration": "5s",
}
"""What holds if nobody says otherwise (Istio MeshConfig, "defaultConfig"; pilot.md A8)."""

AT_START: Final = frozenset(
    {
        "concurrency",
        "connectionSettings",
        "drainDuration",
        "envoyAccessLogService",
        "envoyMetricsService",
        "envoyMetricsServiceAddress",
        "extraStatTags",
        "fileFlushInterval",
        "fileFlushMinSizeKb",
        "proxyMetadata",
        "proxyStatsMatcher",
        "runtimeValues",
        "statsCompression",
        "statsdUdpAddress",
        "terminationDrainDuration",
        "tracing",
        "tracingServiceName",
        "zipkinAddress",
    }
)
"""Fields that a proxy takes over from Pilot when it starts."""

_TYPE_URL: Final = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"

MERGED_BY_KEY: Final = frozenset({"proxyMetadata"})
"""Map fields whose keys of several sources meet; every other field is replaced as a whole."""


def merged(overlays: Mapping[str, Mapping[str, Any]]) -> ProxyConfig:
    """Defaults under each overlay in turn, the last one strongest (citadel-and-agent.md B1).

    ``overlays`` are JSON objects of ProxyConfig by the name of their source; fields that this
    version does not know are ignored. Raises ValueError that names the source and the field.
    """
    result = dict(DEFAULTS)
    for source, overlay in overlays.items():
        known = _known_fields(overlay)
        try:
            _message(known)
        except (ParseError, AttributeError, TypeError) as error:
            raise ValueError(f"ProxyConfig of {source}: {error}") from error
        for name, value in known.items():
            result[name] = {**result.get(name, {}), **value} if name in MERGED_BY_KEY else value
        if "tracingServiceName" in known:
            result.pop("serviceCluster", None)
        elif "serviceCluster" in known:
            result.pop("tracingServiceName", None)
    return _message(result)


def _known_fields(overlay: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of this version under their JSON names; null means: not set."""
    names = {field.name: field.json_name for field in ProxyConfig.DESCRIPTOR.fields}
    known = {names.get(key, key): value for key, value in overlay.items()}
    return {key: known[key] for key in sorted(known) if known[key] is not None}


def _message(fields: dict[str, Any]) -> ProxyConfig:
    return ParseDict(fields, ProxyConfig(), ignore_unknown_fields=True)


def request(node: Node) -> bytes:
    """The only request of a stream that asks for the ProxyConfig of this proxy."""
    return DeltaDiscoveryRequest(node=node, type_url=_TYPE_URL).SerializeToString()


def told_in(response: bytes) -> Mapping[str, Any]:
    """What Pilot says of this proxy, as JSON: the fields that a start depends on.

    Where Pilot is, who the workload is and where the agent listens is the agent's own business.
    Raises ValueError for other answers.
    """
    try:
        answer = DeltaDiscoveryResponse.FromString(response)
    except DecodeError as error:
        raise ValueError(f"ProxyConfig: {error}") from error
    config = ProxyConfig()
    for each in answer.resources:
        if not each.resource.Unpack(config):
            raise ValueError(f"ProxyConfig: a resource is a {each.resource.type_url!r}")
    told: dict[str, Any] = MessageToDict(config)
    return {name: told[name] for name in sorted(AT_START & told.keys())}


def concurrency(config: ProxyConfig, flag: int | None, cpu_limit: str) -> int | None:
    """Worker threads of Envoy; None or 0 lets Envoy take one per core.

    The flag wins over ProxyConfig, both over the CPU limit of the container, whole or in
    thousandths (``500m``), rounded up (citadel-and-agent.md B1).
    """
    if flag is not None:
        return flag
    if config.HasField("concurrency"):
        return config.concurrency.value
    if not cpu_limit:
        return None
    try:
        cores = float(cpu_limit.removesuffix("m"))
    except ValueError as error:
        raise ValueError(f"ISTIO_CPU_LIMIT {cpu_limit!r}: want cores like 2 or 500m") from error
    return max(1, math.ceil(cores / 1000 if cpu_limit.endswith("m") else cores))
