"""Mesh-wide defaults and what replaces them (pilot.md A8)."""

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.model.mesh import Mesh, complete


def test_defaults() -> None:
    mesh = Mesh()
    config = mesh.config
    assert mesh.auto_mtls
    assert mesh.allow_any
    assert not mesh.inbound_to_localhost
    assert mesh.connect_timeout.seconds == 10
    assert config.dns_refresh_rate.seconds == 60
    assert config.protocol_detection_timeout.ToTimedelta().total_seconds() == 0
    assert mesh.root_namespace == "istio-system"
    assert mesh.trust_domain == "cluster.local"
    assert mesh.trust_domains == ("cluster.local",)
    assert config.locality_lb_setting.enabled.value
    assert list(config.default_service_export_to) == ["*"]
    assert config.ingress_controller_mode == MeshConfig.STRICT
    assert config.default_config.drain_duration.seconds == 45
    assert config.default_config.termination_drain_duration.seconds == 5
    assert config.default_config.tracing.sampling == 1
    assert config.default_config.discovery_address == "istiod.istio-system.svc:15012"
    names = [each.name for each in config.extension_providers]
    assert names == ["prometheus", "stackdriver", "envoy"]
    assert config.extension_providers[2].envoy_file_access_log.path == "/dev/stdout"


def test_without_a_configuration_the_defaults_hold() -> None:
    assert complete(None) == Mesh().config


def test_what_is_given_replaces_the_default_as_a_whole() -> None:
    given = MeshConfig(
        trust_domain="td",
        trust_domain_aliases=["old", "td"],
        default_service_export_to=["."],
        root_namespace="root",
    )
    given.connect_timeout.seconds = 3
    given.outbound_traffic_policy.SetInParent()
    given.inbound_traffic_policy.mode = MeshConfig.InboundTrafficPolicy.LOCALHOST
    given.enable_auto_mtls.value = False
    mesh = Mesh(complete(given))
    assert mesh.trust_domains == ("td", "old")
    assert list(mesh.config.default_service_export_to) == ["."]
    assert list(mesh.config.default_virtual_service_export_to) == ["*"]
    assert mesh.root_namespace == "root"
    assert mesh.connect_timeout.seconds == 3
    assert not mesh.allow_any
    assert mesh.inbound_to_localhost
    assert not mesh.auto_mtls


def test_proxy_config_is_merged_and_providers_are_added_by_name() -> None:
    given = MeshConfig()
    given.default_config.drain_duration.seconds = 1
    given.extension_providers.add(name="envoy").envoy_file_access_log.path = "/x"
    given.extension_providers.add(name="mine").envoy_file_access_log.path = "/y"
    config = complete(given)
    assert config.default_config.drain_duration.seconds == 1
    assert config.default_config.termination_drain_duration.seconds == 5
    assert [each.name for each in config.extension_providers] == [
        "prometheus",
        "stackdriver",
        "envoy",
        "mine",
    ]
    assert config.extension_providers[2].envoy_file_access_log.path == "/x"
