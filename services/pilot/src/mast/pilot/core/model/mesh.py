"""Mesh-wide settings: MeshConfig and MeshNetworks with Istio's defaults filled in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.mesh.v1alpha1.network_pb2 import MeshNetworks
from mast.pilot.core.model.public_keys import KeyFetching

DOMAIN: Final = "cluster.local"


def _defaults() -> MeshConfig:
    """Istio's defaults (pilot.md A8)."""
    config = MeshConfig(
        ingress_class="istio",
        ingress_service="istio-ingressgateway",
        ingress_controller_mode=MeshConfig.STRICT,
        trust_domain="cluster.local",
        root_namespace="istio-system",
        proxy_listen_port=15001,
        proxy_inbound_listen_port=15006,
        proxy_http_port=0,
        default_service_export_to=["*"],
        default_virtual_service_export_to=["*"],
        default_destination_rule_export_to=["*"],
    )
    config.connect_timeout.FromTimedelta(timedelta(seconds=10))
    config.dns_refresh_rate.FromTimedelta(timedelta(seconds=60))
    config.protocol_detection_timeout.FromTimedelta(timedelta())
    config.enable_auto_mtls.value = True
    config.outbound_traffic_policy.mode = MeshConfig.OutboundTrafficPolicy.ALLOW_ANY
    config.inbound_traffic_policy.mode = MeshConfig.InboundTrafficPolicy.PASSTHROUGH
    config.locality_lb_setting.enabled.value = True
    config.default_config.discovery_address = "istiod.istio-system.svc:15012"
    config.default_config.drain_duration.FromTimedelta(timedelta(seconds=45))
    config.default_config.termination_drain_duration.FromTimedelta(timedelta(seconds=5))
    config.default_config.tracing.sampling = 1.0
    for name in ("prometheus", "stackdriver"):
        provider = config.extension_providers.add(name=name)
        getattr(provider, name).SetInParent()
    config.extension_providers.add(name="envoy").envoy_file_access_log.path = "/dev/stdout"
    return config


def complete(config: MeshConfig | None) -> MeshConfig:
    """The configuration with defaults for what it leaves open (pilot.md A8).

    Messages and lists that are given replace the default as a whole, except `defaultConfig`,
    which is merged, and `extensionProviders`, which are added to the default ones by name.
    """
    merged = _defaults()
    if config is None:
        return merged
    given = {each.name for each in config.extension_providers}
    kept = [each for each in merged.extension_providers if each.name not in given]
    message: Message = merged
    for descriptor, _ in config.ListFields():
        if descriptor.name != "default_config":
            message.ClearField(descriptor.name)
    merged.MergeFrom(config)
    merged.ClearField("extension_providers")
    merged.extension_providers.extend([*kept, *config.extension_providers])
    return merged


@dataclass(frozen=True, eq=False)
class Mesh:
    """Mesh-wide settings, complete: read `config` for all that has no property here.

    `domain` is the DNS suffix of Kubernetes services; `quic` tells whether gateways speak HTTP/3,
    `key_fetching` who fetches the keys of issuers.
    """

    config: MeshConfig = field(default_factory=_defaults)
    networks: MeshNetworks = field(default_factory=MeshNetworks)
    domain: str = DOMAIN
    quic: bool = False
    key_fetching: KeyFetching = KeyFetching.PILOT

    @property
    def root_namespace(self) -> str:
        """Namespace whose policies hold for the whole mesh."""
        return self.config.root_namespace

    @property
    def trust_domain(self) -> str:
        """Trust domain of workload identities."""
        return self.config.trust_domain

    @property
    def trust_domains(self) -> Sequence[str]:
        """The trust domain and its aliases, each once."""
        return tuple(dict.fromkeys([self.trust_domain, *self.config.trust_domain_aliases]))

    @property
    def auto_mtls(self) -> bool:
        """Clients use mutual TLS wherever the server can (pilot.md G6)."""
        return self.config.enable_auto_mtls.value

    @property
    def allow_any(self) -> bool:
        """Unknown destinations are passed through, not refused (pilot.md E1)."""
        return (
            self.config.outbound_traffic_policy.mode
            != MeshConfig.OutboundTrafficPolicy.REGISTRY_ONLY
        )

    @property
    def inbound_to_localhost(self) -> bool:
        """Inbound traffic goes to 127.0.0.1 instead of the address dialled (pilot.md E14)."""
        return self.config.inbound_traffic_policy.mode == MeshConfig.InboundTrafficPolicy.LOCALHOST

    @property
    def connect_timeout(self) -> Duration:
        """Default connect timeout of clusters."""
        return self.config.connect_timeout
