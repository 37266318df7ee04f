"""Every configuration kind Mast knows: names, versions, collection, message (crds.txt, mcp.txt)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from istio.authentication.v1alpha1 import policy_pb2 as authentication
from istio.extensions.v1alpha1 import traffic_extension_pb2, wasm_pb2
from istio.mesh.v1alpha1 import config_pb2 as mesh
from istio.mesh.v1alpha1 import network_pb2
from istio.mixer.v1.config.client import api_spec_pb2, quota_pb2
from istio.networking.v1alpha3 import (
    destination_rule_pb2,
    envoy_filter_pb2,
    gateway_pb2,
    service_entry_pb2,
    sidecar_pb2,
    virtual_service_pb2,
    workload_entry_pb2,
    workload_group_pb2,
)
from istio.networking.v1beta1 import proxy_config_pb2
from istio.policy.v1beta1 import cfg_pb2
from istio.rbac.v1alpha1 import rbac_pb2
from istio.security.v1beta1 import (
    authorization_policy_pb2,
    peer_authentication_pb2,
    request_authentication_pb2,
)
from istio.telemetry.v1alpha1 import telemetry_pb2
from mast.common.keys import SECRETS_COLLECTION
from mastapi.kubernetes.v1 import credentials_pb2, ingress_pb2, meta_pb2, routes_pb2
from mastapi.kubernetes.v1 import gateway_pb2 as gateway_api

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any
    from google.protobuf.message import Message

TYPE_PREFIX = "type.googleapis.com/"

SOURCE_ANNOTATION = "mast.io/source"
"""Annotation of stored objects: which source stored them."""
GENERATION_ANNOTATION = "mast.io/generation"
"""Annotation of stored objects: the generation they have where they are from."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of configuration object.

    ``versions`` are those a user may write; ``collection`` is the stored and distributed form
    (MCP collection name), independent of the version written. ``flat`` objects have no ``spec``:
    the fields of their message stand beside ``metadata``. ``sealed`` is the message that is stored
    in place of the real one, which nobody may read in the store.
    """

    group: str
    versions: tuple[str, ...]
    name: str
    plural: str
    collection: str
    message: type[Message]
    cluster_scoped: bool = False
    short: str = ""
    flat: bool = False
    sealed: type[Message] | None = None

    @property
    def storage_version(self) -> str:
        """The version that objects are shown in: the first of ``versions``."""
        return self.versions[0]

    @property
    def api_version(self) -> str:
        """``group/version`` of the storage version, ``version`` alone in the core group."""
        return f"{self.group}/{self.storage_version}".removeprefix("/")

    @property
    def type_url(self) -> str:
        """Type URL of the message that is stored."""
        return TYPE_PREFIX + self.stored.DESCRIPTOR.full_name

    @property
    def stored(self) -> type[Message]:
        """The message that is stored: the specification, unless that is sealed."""
        return self.sealed or self.message

    @property
    def root(self) -> tuple[str, ...]:
        """Path of the specification within an object."""
        return () if self.flat else ("spec",)

    def __str__(self) -> str:
        return f"{self.group}/{self.name}".removeprefix("/")


_NETWORKING = ("v1", "v1alpha3", "v1beta1")


def _networking(
    name: str, plural: str, message: type[Message], short: str = "", versions: tuple[str, ...] = ()
) -> Kind:
    collection = f"istio/networking/v1alpha3/{plural}"
    group = "networking.istio.io"
    return Kind(group, versions or _NETWORKING, name, plural, collection, message, short=short)


def _security(name: str, plural: str, message: type[Message], short: str) -> Kind:
    collection = f"istio/security/v1beta1/{plural}"
    return Kind(
        "security.istio.io", ("v1", "v1beta1"), name, plural, collection, message, False, short
    )


def _old(
    area: str, name: str, plural: str, message: type[Message], cluster_scoped: bool = False
) -> Kind:
    collection = f"istio/{area}/v1alpha1/{plural}"
    return Kind(
        f"{area}.istio.io", ("v1alpha1",), name, plural, collection, message, cluster_scoped
    )


def _gateway_api(
    name: str,
    plural: str,
    message: type[Message],
    versions: tuple[str, ...],
    short: str = "",
    cluster_scoped: bool = False,
) -> Kind:
    collection = f"k8s/gateway_api/v1/{plural}"
    group = "gateway.networking.k8s.io"
    return Kind(group, versions, name, plural, collection, message, cluster_scoped, short)


def _kubernetes(
    group: str, name: str, plural: str, message: type[Message], short: str, cluster_scoped: bool
) -> Kind:
    collection = f"k8s/{group.partition('.')[0] or 'core'}/v1/{plural}"
    return Kind(group, ("v1",), name, plural, collection, message, cluster_scoped, short)


def _mixer(name: str, plural: str, home: str, message: type[Message]) -> Kind:
    return Kind("config.istio.io", ("v1alpha2",), name, plural, f"{home}/{plural}", message)


_POLICY = "istio/policy/v1beta1"
_CONFIG = "istio/config/v1alpha2"
_CLIENT = "istio/mixer/v1/config/client"

# Kinds whose specification is a template's or an adapter's parameters (1.0 to 1.4).
LEGACY_TEMPLATES: Mapping[str, str] = {
    "apikey": "apikeys",
    "authorization": "authorizations",
    "checknothing": "checknothings",
    "edge": "edges",
    "kubernetes": "kuberneteses",
    "listentry": "listentries",
    "logentry": "logentries",
    "metric": "metrics",
    "quota": "quotas",
    "reportnothing": "reportnothings",
    "tracespan": "tracespans",
}
LEGACY_ADAPTERS: Mapping[str, str] = {
    "bypass": "bypasses",
    "circonus": "circonuses",
    "cloudwatch": "cloudwatches",
    "denier": "deniers",
    "dogstatsd": "dogstatsds",
    "fluentd": "fluentds",
    "kubernetesenv": "kubernetesenvs",
    "listchecker": "listcheckers",
    "memquota": "memquotas",
    "noop": "noops",
    "opa": "opas",
    "prometheus": "prometheuses",
    "rbac": "rbacs",
    "redisquota": "redisquotas",
    "signalfx": "signalfxs",
    "solarwinds": "solarwindses",
    "stackdriver": "stackdrivers",
    "statsd": "statsds",
    "stdio": "stdios",
    "zipkin": "zipkins",
}

KINDS: tuple[Kind, ...] = (
    _networking("DestinationRule", "destinationrules", destination_rule_pb2.DestinationRule, "dr"),
    _networking(
        "EnvoyFilter",
        "envoyfilters",
        envoy_filter_pb2.EnvoyFilter,
        versions=("v1alpha3",),
    ),
    _networking("Gateway", "gateways", gateway_pb2.Gateway, "gw"),
    _networking("ServiceEntry", "serviceentries", service_entry_pb2.ServiceEntry, "se"),
    _networking("Sidecar", "sidecars", sidecar_pb2.Sidecar),
    _networking("VirtualService", "virtualservices", virtual_service_pb2.VirtualService, "vs"),
    _networking("WorkloadEntry", "workloadentries", workload_entry_pb2.WorkloadEntry, "we"),
    _networking("WorkloadGroup", "workloadgroups", workload_group_pb2.WorkloadGroup, "wg"),
    Kind(
        "networking.istio.io",
        ("v1beta1",),
        "ProxyConfig",
        "proxyconfigs",
        "istio/networking/v1beta1/proxyconfigs",
        proxy_config_pb2.ProxyConfig,
    ),
    _security(
        "AuthorizationPolicy",
        "authorizationpolicies",
        authorization_policy_pb2.AuthorizationPolicy,
        "ap",
    ),
    _security(
        "PeerAuthentication",
        "peerauthentications",
        peer_authentication_pb2.PeerAuthentication,
        "pa",
    ),
    _security(
        "RequestAuthentication",
        "requestauthentications",
        request_authentication_pb2.RequestAuthentication,
        "ra",
    ),
    Kind(
        "telemetry.istio.io",
        ("v1", "v1alpha1"),
        "Telemetry",
        "telemetries",
        "istio/telemetry/v1alpha1/telemetries",
        telemetry_pb2.Telemetry,
        short="telemetry",
    ),
    Kind(
        "extensions.istio.io",
        ("v1alpha1",),
        "WasmPlugin",
        "wasmplugins",
        "istio/extensions/v1alpha1/wasmplugins",
        wasm_pb2.WasmPlugin,
    ),
    Kind(
        "extensions.istio.io",
        ("v1alpha1",),
        "TrafficExtension",
        "trafficextensions",
        "istio/extensions/v1alpha1/trafficextensions",
        traffic_extension_pb2.TrafficExtension,
    ),
    _gateway_api(
        "GatewayClass",
        "gatewayclasses",
        gateway_api.GatewayClassSpec,
        ("v1", "v1beta1", "v1alpha2"),
        "gc",
        cluster_scoped=True,
    ),
    _gateway_api(
        "Gateway", "gateways", gateway_api.GatewaySpec, ("v1", "v1beta1", "v1alpha2"), "gtw"
    ),
    _gateway_api(
        "HTTPRoute", "httproutes", routes_pb2.HTTPRouteSpec, ("v1", "v1beta1", "v1alpha2")
    ),
    _gateway_api("GRPCRoute", "grpcroutes", routes_pb2.GRPCRouteSpec, ("v1", "v1alpha2")),
    _gateway_api("TLSRoute", "tlsroutes", routes_pb2.TLSRouteSpec, ("v1", "v1alpha3", "v1alpha2")),
    _gateway_api("TCPRoute", "tcproutes", routes_pb2.TCPRouteSpec, ("v1alpha2", "v1")),
    _gateway_api(
        "ReferenceGrant",
        "referencegrants",
        gateway_api.ReferenceGrantSpec,
        ("v1beta1", "v1", "v1alpha2"),
        "refgrant",
    ),
    _gateway_api(
        "BackendTLSPolicy",
        "backendtlspolicies",
        gateway_api.BackendTLSPolicySpec,
        ("v1", "v1alpha3"),
        "btlspolicy",
    ),
    _kubernetes("networking.k8s.io", "Ingress", "ingresses", ingress_pb2.IngressSpec, "ing", False),
    _kubernetes(
        "networking.k8s.io",
        "IngressClass",
        "ingressclasses",
        ingress_pb2.IngressClassSpec,
        "",
        True,
    ),
    _kubernetes("", "Namespace", "namespaces", meta_pb2.NamespaceSpec, "ns", True),
    Kind(
        "",
        ("v1",),
        "Secret",
        "secrets",
        SECRETS_COLLECTION,
        credentials_pb2.Secret,
        flat=True,
        sealed=credentials_pb2.SealedSecret,
    ),
    Kind(
        "",
        ("v1",),
        "ConfigMap",
        "configmaps",
        "k8s/core/v1/configmaps",
        credentials_pb2.ConfigMap,
        short="cm",
        flat=True,
    ),
    _old("authentication", "MeshPolicy", "meshpolicies", authentication.Policy, True),
    _old("authentication", "Policy", "policies", authentication.Policy),
    _old("rbac", "ClusterRbacConfig", "clusterrbacconfigs", rbac_pb2.RbacConfig, True),
    _old("rbac", "RbacConfig", "rbacconfigs", rbac_pb2.RbacConfig),
    _old("rbac", "ServiceRole", "serviceroles", rbac_pb2.ServiceRole),
    _old("rbac", "ServiceRoleBinding", "servicerolebindings", rbac_pb2.ServiceRoleBinding),
    _mixer("HTTPAPISpec", "httpapispecs", _CONFIG, api_spec_pb2.HTTPAPISpec),
    _mixer("HTTPAPISpecBinding", "httpapispecbindings", _CONFIG, api_spec_pb2.HTTPAPISpecBinding),
    _mixer("QuotaSpec", "quotaspecs", _CLIENT, quota_pb2.QuotaSpec),
    _mixer("QuotaSpecBinding", "quotaspecbindings", _CLIENT, quota_pb2.QuotaSpecBinding),
    _mixer("adapter", "adapters", _CONFIG, struct_pb2.Struct),
    _mixer("template", "templates", _CONFIG, struct_pb2.Struct),
    _mixer("attributemanifest", "attributemanifests", _POLICY, cfg_pb2.AttributeManifest),
    _mixer("handler", "handlers", _POLICY, cfg_pb2.Handler),
    _mixer("instance", "instances", _POLICY, cfg_pb2.Instance),
    _mixer("rule", "rules", _POLICY, cfg_pb2.Rule),
    *(
        _mixer(name, plural, f"{_CONFIG}/legacy", struct_pb2.Struct)
        for name, plural in sorted({**LEGACY_TEMPLATES, **LEGACY_ADAPTERS}.items())
    ),
    Kind(
        "mesh.istio.io",
        ("v1alpha1",),
        "MeshConfig",
        "meshconfigs",
        "istio/mesh/v1alpha1/MeshConfig",
        mesh.MeshConfig,
    ),
    Kind(
        "mesh.istio.io",
        ("v1alpha1",),
        "MeshNetworks",
        "meshnetworks",
        "istio/mesh/v1alpha1/MeshNetworks",
        network_pb2.MeshNetworks,
    ),
)

BY_COLLECTION: Mapping[str, Kind] = {kind.collection: kind for kind in KINDS}
BY_GROUP_KIND: Mapping[tuple[str, str], Kind] = {(kind.group, kind.name): kind for kind in KINDS}


def named(text: str) -> Sequence[Kind]:
    """The kinds a user may mean: by kind, plural or short name in any case, or ``group/kind``.

    A plural may be followed by its group as well: ``gateways.gateway.networking.k8s.io``. Exact
    spelling wins; the empty result means that there is no such kind.
    """
    group, _, name = text.rpartition("/")
    if not group and "." in name:
        name, _, group = name.partition(".")
    pool = [kind for kind in KINDS if not group or kind.group == group]
    exact = [kind for kind in pool if kind.name == name]
    if exact:
        return exact
    wanted = name.lower()
    return [
        kind
        for kind in pool
        if wanted in {kind.name.lower(), kind.plural.lower(), kind.short or None}
    ]


def unpack(kind: Kind, body: Any) -> Message:
    """What is stored of the specification inside a resource: itself, or its sealed form.

    Raises ValueError if the body holds another message or cannot be decoded.
    """
    if body.type_url != kind.type_url:
        raise ValueError(f"{kind}: body is {body.type_url}, expected {kind.type_url}")
    message = kind.stored()
    try:
        message.ParseFromString(body.value)
    except DecodeError as error:
        raise ValueError(f"{kind}: body cannot be decoded: {error}") from error
    return message
