"""TLS of clusters and listeners: mesh mutual TLS, plain TLS towards others, none."""

from collections.abc import Iterable, Sequence
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiConfigSource,
    ApiVersion,
    ConfigSource,
)
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from mast.pilot.core import names
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed

SDS_CLUSTER: Final = "sds-grpc"
"""Cluster of the bootstrap that leads to the agent's secret discovery service (pilot.md A6)."""

TLS: Final = "envoy.transport_sockets.tls"
RAW_BUFFER: Final = "envoy.transport_sockets.raw_buffer"

CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)
"""Cipher suites of mesh servers (pilot.md E13)."""

KNOWN_CIPHERS: Final = frozenset(CIPHERS) | {
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
}
KNOWN_CURVES: Final = frozenset(
    {"P-256", "P-384", "P-521", "X25519", "X25519MLKEM768", "prime256v1", "secp384r1"}
)
"""What Envoy's TLS library knows; it refuses a listener or cluster that names anything else."""

_MAX_SERVER_NAME_BYTES: Final = 255

SERVER_HTTP_ALPN: Final = ("h2", "http/1.1")
SERVER_TCP_ALPN: Final = ("istio-peer-exchange", "h2", "http/1.1")


def raw() -> TransportSocket:
    """No TLS."""
    return TransportSocket(name=RAW_BUFFER, typed_config=packed(RawBuffer()))


def mesh_client(
    proxy: Proxy, *, sni: str, identities: Iterable[str], alpn: Sequence[str]
) -> TransportSocket:
    """Mutual TLS with another workload of the mesh (pilot.md G5, ISTIO_MUTUAL).

    `identities` are the SPIFFE IDs that the server may have; without any each workload of the mesh
    is accepted. A server name that is too long for TLS is not sent: only gateways need it.
    """
    validation = CertificateValidationContext(
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(
                san_type=SubjectAltNameMatcher.URI, matcher=StringMatcher(exact=each)
            )
            for each in identities
        ]
    )
    common = _workload_context(proxy, "CLIENT", validation)
    common.alpn_protocols.extend(alpn)
    common.tls_params.CopyFrom(
        TlsParameters(
            tls_minimum_protocol_version=TlsParameters.TLSv1_2,
            tls_maximum_protocol_version=TlsParameters.TLSv1_3,
        )
    )
    return _tls(UpstreamTlsContext(common_tls_context=common, sni=_server_name(sni)))


def mesh_server(
    mesh: Mesh, proxy: Proxy, *, alpn: Sequence[str], parameters: TlsParameters | None = None
) -> TransportSocket:
    """Mutual TLS as the server of a filter chain (pilot.md E13, I4 ISTIO_MUTUAL).

    Every client of the trust domain or one of its aliases is accepted; `alpn` is
    `SERVER_HTTP_ALPN` or `SERVER_TCP_ALPN`; `parameters` stand in for those of the mesh.
    """
    validation = CertificateValidationContext(
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(
                san_type=SubjectAltNameMatcher.URI,
                matcher=StringMatcher(prefix=f"spiffe://{each}/"),
            )
            for each in mesh.trust_domains
        ]
    )
    common = _workload_context(proxy, "SERVER", validation)
    common.alpn_protocols.extend(alpn)
    common.tls_params.CopyFrom(parameters or tls_parameters(mesh.config.mesh_mTLS))
    return _tls(
        DownstreamTlsContext(
            common_tls_context=common, require_client_certificate=BoolValue(value=True)
        )
    )


def client(
    settings: ClientTLSSettings,
    defaults: MeshConfig.TLSConfig | None = None,
    *,
    credential: str = "",
    alpn: Sequence[str] = (),
) -> TransportSocket:
    """TLS of a DestinationRule with mode SIMPLE or MUTUAL (pilot.md G5).

    `defaults` are curves and suites that the mesh wants (MeshConfig `tlsDefaults`).
    `credential` is the SDS name of `credentialName`, empty if there is none that the proxy may
    use. Roots are those of the machine unless others are given. The cluster sees to server names
    that come from the request (`auto_sni`).
    """
    context = UpstreamTlsContext(sni=_server_name(settings.sni))
    common = context.common_tls_context
    common.alpn_protocols.extend(alpn)
    if defaults is not None and defaults.ByteSize():
        common.tls_params.CopyFrom(tls_parameters(defaults))
    if settings.mode == ClientTLSSettings.MUTUAL:
        name = credential or names.file_certificate(
            settings.client_certificate, settings.private_key
        )
        common.tls_certificate_sds_secret_configs.append(secret(name))
    _add_validation(context, settings, credential)
    return _tls(context)


def cipher_suites(wanted: Iterable[str]) -> Sequence[str]:
    """Those of the suites that Envoy knows, the mesh's own if there are none."""
    return [each for each in wanted if each in KNOWN_CIPHERS] or CIPHERS


def secret(name: str) -> SdsSecretConfig:
    """A credential by its SDS name; waits no longer than Envoy does by default (pilot.md B16).

    Without it connections fail, but a file that is not there keeps no proxy from starting.
    """
    return _secret(name, bounded=True)


def _add_validation(
    context: UpstreamTlsContext, settings: ClientTLSSettings, credential: str
) -> None:
    common = context.common_tls_context
    verified = not settings.insecure_skip_verify.value
    by_name = [
        SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=each))
        for each in settings.subject_alt_names
        for kind in _kinds_of(each)
    ]
    validation = CertificateValidationContext()
    if verified:
        validation.match_typed_subject_alt_names.extend(by_name)
    # Envoy refuses clusters whose file of revocations is not there; the agent waits for it.
    roots = names.file_roots(settings.ca_certificates or names.SYSTEM_ROOTS, settings.ca_crl)
    if credential:
        roots = names.roots_credential(credential)
    if not verified:
        validation.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
        common.validation_context.CopyFrom(validation)
    else:
        # Envoy knows `system_root_certs` by name, but accepts any certificate then.
        combined = common.combined_validation_context
        combined.default_validation_context.CopyFrom(validation)
        combined.validation_context_sds_secret_config.CopyFrom(secret(roots))


def _kinds_of(name: str) -> Sequence["SubjectAltNameMatcher.SanType.ValueType"]:
    if "://" in name:
        return (SubjectAltNameMatcher.URI,)
    return (SubjectAltNameMatcher.DNS, SubjectAltNameMatcher.URI)


def _workload_context(
    proxy: Proxy, side: str, validation: CertificateValidationContext
) -> CommonTlsContext:
    """Certificate and roots of the workload, from the agent or, if metadata says so, from files."""
    chain = proxy.text(f"TLS_{side}_CERT_CHAIN")
    key = proxy.text(f"TLS_{side}_KEY")
    roots = proxy.text(f"TLS_{side}_ROOT_CERT")
    certificate = names.file_certificate(chain, key) if chain and key else names.SDS_CERTIFICATE
    trusted = names.file_roots(roots) if roots else names.SDS_ROOTS
    return CommonTlsContext(
        tls_certificate_sds_secret_configs=[_secret(certificate, bounded=False)],
        combined_validation_context=CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=validation,
            validation_context_sds_secret_config=_secret(trusted, bounded=False),
        ),
    )


def _secret(name: str, *, bounded: bool) -> SdsSecretConfig:
    """A secret of the agent; an unbounded one keeps the cluster or listener waiting (B16).

    Those that users keep in the mesh's own store come over ADS (citadel-and-agent.md B3).
    """
    if names.is_credential(name):
        source = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
        return SdsSecretConfig(name=name, sds_config=source)
    source = ConfigSource(
        api_config_source=ApiConfigSource(
            api_type=ApiConfigSource.GRPC,
            transport_api_version=ApiVersion.V3,
            set_node_on_first_message_only=True,
            grpc_services=[GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=SDS_CLUSTER))],
        ),
        resource_api_version=ApiVersion.V3,
    )
    if not bounded:
        source.initial_fetch_timeout.CopyFrom(Duration())
    return SdsSecretConfig(name=name, sds_config=source)


def tls_parameters(settings: MeshConfig.TLSConfig) -> TlsParameters:
    """Versions, curves and suites of a mesh's settings; TLS 1.2 is the least (pilot.md E13)."""
    minimum = TlsParameters.TLSv1_2
    if settings.min_protocol_version == MeshConfig.TLSConfig.TLSV1_3:
        minimum = TlsParameters.TLSv1_3
    return TlsParameters(
        tls_minimum_protocol_version=minimum,
        tls_maximum_protocol_version=TlsParameters.TLSv1_3,
        cipher_suites=cipher_suites(settings.cipher_suites),
        ecdh_curves=[each for each in settings.ecdh_curves if each in KNOWN_CURVES],
    )


def _server_name(name: str) -> str:
    """The name, nothing if it is longer than Envoy accepts."""
    return name if len(name.encode()) <= _MAX_SERVER_NAME_BYTES else ""


def _tls(context: UpstreamTlsContext | DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(name=TLS, typed_config=packed(context))
