"""MeshConfig, MeshNetworks, ProxyConfig (B3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.galley.core.metadata import dns_label, label_key
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.gateway import CIPHERS
from mast.galley.core.rules.providers import default_providers
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    is_set,
    json_name,
    prefixed,
    required,
    when,
)

CURVES = frozenset({"P-256", "P-384", "P-521", "X25519", "X25519MLKEM768"})

# On which proxies and their agents listen themselves (pilot.md A, ports).
_PROXY_PORTS = frozenset({15000, 15004, 15020, 15021, 15053, 15090})
# Fields for the other ports of proxies, and their values if they are not set (pilot.md A8).
_LISTEN_PORTS = {
    "proxy_listen_port": 15001,
    "proxy_inbound_listen_port": 15006,
    "proxy_http_port": 0,
}

_HOUR_NS = 3_600_000_000_000
_MS_NS = 1_000_000
_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})


def _mesh_config(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    for name in ("mixer_check_server", "mixer_report_server"):
        if text := getattr(spec, name):
            shown = spec.DESCRIPTOR.fields_by_name[name].json_name
            yield from when(address(text), (*SPEC, shown), "address")
    yield from _listen_ports(spec)
    aliases = list(spec.trust_domain_aliases)
    for index in values.duplicates(aliases):
        message = f"{aliases[index]!r} is given twice"
        yield Finding((*SPEC, "trustDomainAliases", index), "duplicate", message)
    names = [provider.name for provider in spec.extension_providers]
    for index in values.duplicates(names):
        message = f"provider {names[index]!r} is given twice"
        yield Finding((*SPEC, "extensionProviders", index, "name"), "duplicate", message)
    yield from default_providers(spec)


def _listen_ports(spec: Any) -> Iterator[Finding]:
    """Each listener of a proxy has a port of its own."""
    numbers = {name: getattr(spec, name) or port for name, port in _LISTEN_PORTS.items()}
    for name, number in numbers.items():
        taken = {port for other, port in numbers.items() if other != name} | _PROXY_PORTS
        if getattr(spec, name) and number in taken:
            message = f"port {number} is taken: the proxy listens there for something else"
            yield Finding((*SPEC, json_name(spec, name)), "port", message)


def _proxy_config(config: Any, at: Path) -> Iterator[Finding]:
    for name in ("discovery_address", "statsd_udp_address", "zipkin_address"):
        if text := getattr(config, name):
            shown = config.DESCRIPTOR.fields_by_name[name].json_name
            yield from when(address(text), (*at, shown), "address")


def _collector_tls(settings: Any, at: Path) -> Iterator[Finding]:
    """Certificates of the bootstrap's clusters are files; servers are always verified."""
    for name in ("credential_name", "insecure_skip_verify", "ca_crl"):
        if is_set(settings.tls_settings, name):
            shown = json_name(settings.tls_settings, name)
            message = f"{shown!r} is not allowed for collectors; allowed: files, or ISTIO_MUTUAL"
            yield Finding((*at, "tlsSettings", shown), "not-allowed", message)


def _remote_service(service: Any, at: Path) -> Iterator[Finding]:
    yield from _collector_tls(service, at)
    if service.address:
        yield from when(address(service.address), (*at, "address"), "address")


def _tracing(tracing: Any, at: Path) -> Iterator[Finding]:
    yield from _collector_tls(tracing, at)
    for tracer in ("zipkin", "datadog"):
        if tracing.HasField(tracer):
            text = getattr(tracing, tracer).address
            yield from when(address(text), (*at, tracer, "address"), "address")


def address(text: str) -> str | None:
    """``host:port``; the host is a name or an address, an IPv6 one in brackets."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    number = values.digits(port)
    if not colon or number is None:
        return f"{text!r} must be host:port"
    if "$" in bare:  # Expanded by the agent: $(HOST_IP):8126.
        return None
    return values.host_or_ip(bare) or values.port(number)


def _tls(config: Any, at: Path) -> Iterator[Finding]:
    for index, suite in enumerate(config.cipher_suites):
        if suite not in CIPHERS:
            message = f"{suite!r} is unknown and ignored"
            yield warning((*at, "cipherSuites", index), "cipher", message)
    curves = list(config.ecdh_curves)
    for index, curve in enumerate(curves):
        if curve not in CURVES:
            message = f"{curve!r} is unknown; allowed: {', '.join(sorted(CURVES))}"
            yield Finding((*at, "ecdhCurves", index), "curve", message)
    for index in values.duplicates(curves):
        message = f"{curves[index]!r} is given twice"
        yield Finding((*at, "ecdhCurves", index), "duplicate", message)


def _ca_certificate(entry: Any, at: Path) -> Iterator[Finding]:
    """Roots to trust: given, or to be fetched (citadel-and-agent.md A8.3, A8.4)."""
    source = entry.WhichOneof("certificate_data")
    if source is None or not getattr(entry, source):
        yield required(at, "pem", "spiffeBundleUrl")
    elif source == "pem":
        yield from when(_roots(entry.pem), (*at, "pem"), "certificate")
    domains = list(entry.trust_domains)
    for index in values.duplicates(domains):
        yield Finding(
            (*at, "trustDomains", index), "duplicate", f"{domains[index]!r} is given twice"
        )


def _roots(pem: str) -> str | None:
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return "holds no certificates in PEM"
    for each in found:
        try:
            constraints = each.extensions.get_extension_for_class(x509.BasicConstraints)
            is_ca = constraints.value.ca
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            is_ca = False
        if not is_ca:
            return f"certificate {each.subject.rfc4514_string()!r} is no CA; allowed: CA:true"
    return None


def _https(text: str) -> str | None:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        host, url = None, None
    if url is None or url.scheme != "https" or not host or url.username or url.fragment:
        return f"{text!r} is no https address, such as https://spiffe.example.com/bundle"
    return values.host_or_ip(host)


def _requirement(requirement: Any, at: Path) -> Iterator[Finding]:
    yield from when(label_key(requirement.key), (*at, "key"), "label")
    if requirement.operator not in _OPERATORS:
        message = f"{requirement.operator!r} is unknown; allowed: {', '.join(sorted(_OPERATORS))}"
        yield Finding((*at, "operator"), "operator", message)
    elif requirement.operator in {"In", "NotIn"} and not requirement.values:
        yield required((*at, "values"), "values")
    elif requirement.operator in {"Exists", "DoesNotExist"} and requirement.values:
        message = f"'values' is not allowed with operator {requirement.operator}"
        yield Finding((*at, "values"), "not-allowed", message)


def _networks(obj: ConfigObject) -> Iterator[Finding]:
    for name, network in obj.spec.networks.items():
        at = (*SPEC, "networks", name)
        yield from when(dns_label(name), at, "name")
        for index, endpoint in enumerate(network.endpoints):
            here = (*at, "endpoints", index)
            if endpoint.WhichOneof("ne") is None:
                yield required(here, "fromCidr", "fromRegistry")
            elif endpoint.from_cidr:
                yield from when(values.cidr(endpoint.from_cidr), (*here, "fromCidr"), "cidr")
        for index, gateway in enumerate(network.gateways):
            here = (*at, "gateways", index)
            if gateway.WhichOneof("gw") is None:
                yield required(here, "address", "registryServiceName")
            elif gateway.address:
                complaint = values.host_or_ip(gateway.address)
                yield from when(complaint, (*here, "address"), "address")


def _connect_timeout(value: Any) -> str | None:
    if _MS_NS <= value.ToNanoseconds() <= _HOUR_NS:
        return None
    return f"duration {value.ToJsonString()} is out of range; allowed: 1ms to 1h"


def _dns_refresh_rate(value: Any) -> str | None:
    """Envoy resolves no oftener than every other millisecond."""
    if value.ToNanoseconds() == _MS_NS:
        return f"duration {value.ToJsonString()} is too short; allowed: 2ms or more"
    return values.duration(value)


def _trust_domain(text: str) -> str | None:
    complaint = values.fqdn(text)
    return None if complaint is None else f"{text!r} is not a trust domain, such as cluster.local"


_PACKAGE = "istio.mesh.v1alpha1"
# Of the settings of connections only globalDownstreamConnectionLimit is the agent's.
_CONNECTIONS = tuple(
    f"ProxyConfig.ConnectionSettings.{each.name}"
    for each in ProxyConfig.ConnectionSettings.DESCRIPTOR.fields
    if each.name != "global_downstream_connection_limit"
)
_OFF_BY_ZERO = (
    "MeshConfig.protocol_detection_timeout",
    "MeshConfig.hbone_idle_timeout",
    "MeshConfig.rds_refresh_delay",
    "MeshConfig.sds_refresh_delay",
    "MeshConfig.report_batch_max_time",
    "ProxyConfig.termination_drain_duration",
    "ProxyConfig.discovery_refresh_delay",
    "ProxyConfig.file_flush_interval",
)

_UNSUPPORTED = {
    "MeshConfig.zone_aware_lb_setting": (
        "a proxy does not know the endpoints of its own service by zone; use localityLbSetting"
    ),
    "MeshConfig.service_entry_visibility": "use exportTo, or defaultServiceExportTo",
    "MeshConfig.CertificateData.cert_signers": (
        "Citadel signs all certificates; without signers the roots are trusted in general"
    ),
    "MeshConfig.OutboundTrafficPolicy.tls": "write a ServiceEntry and a DestinationRule",
}
_NO_AMBIENT = "there is no ambient mode"
_AGENT_SDS = "agents get keys and certificates by themselves and serve them over SDS"
_WITHOUT_EFFECT = {
    "MeshConfig.auth_policy": "write a PeerAuthentication or MeshPolicy",
    "MeshConfig.rds_refresh_delay": "configuration is pushed when it changes",
    "MeshConfig.mixer_address": "use mixerCheckServer and mixerReportServer",
    "MeshConfig.sidecar_to_telemetry_session_affinity": "reports are streamed to one server",
    "MeshConfig.sds_uds_path": _AGENT_SDS,
    "MeshConfig.sds_refresh_delay": _AGENT_SDS,
    "MeshConfig.enable_sds_token_mount": _AGENT_SDS,
    "MeshConfig.sds_use_k8s_sa_jwt": _AGENT_SDS,
    "MeshConfig.config_sources": "read by Galley at its start (--mesh-config-file)",
    "MeshConfig.certificates": "Citadel certifies workloads, no DNS names",
    "MeshConfig.ca": "agents find the authority by CA_ADDR",
    "MeshConfig.verify_certificate_at_client": "servers outside are always verified",
    "MeshConfig.enable_prometheus_merge": "agents add what a workload's annotations name",
    "MeshConfig.service_scope_configs": _NO_AMBIENT,
    "MeshConfig.hbone_idle_timeout": _NO_AMBIENT,
}

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            **dict.fromkeys(_OFF_BY_ZERO, ("duration", values.duration_or_zero)),
            "MeshConfig.connect_timeout": ("duration", _connect_timeout),
            "MeshConfig.dns_refresh_rate": ("duration", _dns_refresh_rate),
            "MeshConfig.proxy_listen_port": ("port", values.port),
            "MeshConfig.proxy_inbound_listen_port": ("port", values.port),
            "MeshConfig.proxy_http_port": ("port", values.port),
            "MeshConfig.trust_domain": ("trust-domain", _trust_domain),
            "MeshConfig.CertificateData.trust_domains": ("trust-domain", _trust_domain),
            "MeshConfig.CertificateData.spiffe_bundle_url": ("url", _https),
            "MeshConfig.root_namespace": ("name", dns_label),
            "MeshConfig.ServiceSettings.hosts": ("host", values.wildcard),
            "ProxyConfig.drain_duration": ("duration", values.whole_seconds),
            "ProxyConfig.parent_shutdown_duration": ("duration", values.whole_seconds),
            "ProxyConfig.proxy_admin_port": ("port", values.port),
            "ProxyConfig.status_port": ("port", values.port),
            "ProxyConfig.concurrency": ("number", values.not_negative),
            "ProxyConfig.ProxyStatsMatcher.inclusion_regexps": ("regex", values.regex),
            "Tracing.sampling": ("percentage", values.percent),
            "Network.IstioNetworkGateway.port": ("port", values.port),
        },
    )
    | {
        "istio.networking.v1beta1.ProxyConfig.concurrency": ("number", values.not_negative),
        "istio.networking.v1beta1.ProxyConfig.environment_variables": (
            "variable",
            values.header_text,
        ),
    },
    messages=prefixed(
        _PACKAGE,
        {
            "ProxyConfig": _proxy_config,
            "RemoteService": _remote_service,
            "Tracing": _tracing,
            "MeshConfig.TLSConfig": _tls,
            "MeshConfig.CertificateData": _ca_certificate,
            "LabelSelectorRequirement": _requirement,
        },
    ),
    objects={"MeshConfig": _mesh_config, "MeshNetworks": _networks},
    unsupported=prefixed(
        _PACKAGE,
        {
            **_UNSUPPORTED,
            **dict.fromkeys(
                ("Tracing.lightstep", "Tracing.stackdriver", "Tracing.open_census_agent"),
                "Envoy has no such tracer any more; use zipkin, datadog or extensionProviders",
            ),
            "ProxyConfig.ProxyHeaders.attempt_count": (
                "proxies of a namespace share routes; remove x-envoy-attempt-count in routes"
            ),
            "ProxyConfig.ProxyHeaders.preserve_http1_header_case": "use an EnvoyFilter",
            "ProxyConfig.ProxyHeaders.x_forwarded_host": "use an EnvoyFilter",
            "ProxyConfig.private_key_provider": "stock Envoy has no crypto accelerators",
            **dict.fromkeys(_CONNECTIONS, "use a DestinationRule or an EnvoyFilter"),
        },
    ),
    without_effect=prefixed(
        _PACKAGE,
        {
            "ProxyConfig.connect_timeout": "clusters of the bootstrap have limits of their own",
            **_WITHOUT_EFFECT,
            "ProxyConfig.config_path": "the agent writes to its own directory",
            "ProxyConfig.availability_zone": "it is the label topology.kubernetes.io/zone",
            "ProxyConfig.discovery_refresh_delay": "changes are pushed",
            "ProxyConfig.stat_name_length": "Envoy has no limit any more",
            "ProxyConfig.sds": "certificates always come by SDS",
            "ProxyConfig.proxy_bootstrap_template_path": "use customConfigFile",
            "ProxyConfig.parent_shutdown_duration": "proxies do not restart while hot",
            "ProxyConfig.image": "images are chosen by who starts the proxy",
            "ProxyConfig.ProxyHeaders.metadata_exchange_headers": (
                "proxies exchange no metadata in headers"
            ),
            "MeshConfig.DefaultProviders.metrics": "metrics come from Mixer",
            "MeshConfig.ExtensionProvider.prometheus": "metrics come from Mixer",
            "ProxyConfig.hold_application_until_proxy_starts": (
                "the agent's command 'wait' holds an application back"
            ),
        },
    ),
    # A network that nothing enters from outside has no gateways.
    # Istio's charts write `networks: {}`.
    optional=frozenset({f"{_PACKAGE}.Network.gateways", f"{_PACKAGE}.MeshNetworks.networks"}),
)
