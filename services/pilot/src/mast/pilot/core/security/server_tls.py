"""TLS that a server port asks of its clients as its own settings say (Istio ServerTLSSettings)."""

from collections.abc import Sequence
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicDownstreamTransport
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from mast.pilot.core import names
from mast.pilot.core.packing import packed
from mast.pilot.core.security.transport_sockets import (
    TLS,
    cipher_suites,
    secret,
    tls_parameters,
)

QUIC: Final = "envoy.transport_sockets.quic"

_VERSIONS: Final = {
    ServerTLSSettings.TLSV1_0: TlsParameters.TLSv1_0,
    ServerTLSSettings.TLSV1_1: TlsParameters.TLSv1_1,
    ServerTLSSettings.TLSV1_2: TlsParameters.TLSv1_2,
    ServerTLSSettings.TLSV1_3: TlsParameters.TLSv1_3,
}
_SAN_TYPES: Final = (SubjectAltNameMatcher.URI, SubjectAltNameMatcher.DNS)
_VERIFYING: Final = (ServerTLSSettings.MUTUAL, ServerTLSSettings.OPTIONAL_MUTUAL)


def terminates(settings: ServerTLSSettings | None) -> bool:
    """The server of a sidecar ends TLS with a certificate of its own."""
    return settings is not None and settings.mode in (ServerTLSSettings.SIMPLE, *_VERIFYING)


def server_tls(
    settings: ServerTLSSettings, defaults: MeshConfig.TLSConfig, *, alpn: Sequence[str]
) -> TransportSocket:
    """TLS with certificates, keys and client roots in files or in the store (pilot.md C, I4, I5).

    What the settings leave open is that of the mesh (MeshConfig `tlsDefaults`).

    Files are served by the agent, what `credentialName` names by Pilot. MUTUAL asks for a client
    certificate, of one of `subjectAltNames` if there are any; OPTIONAL_MUTUAL verifies it if there
    is one.
    """
    return TransportSocket(name=TLS, typed_config=packed(_context(settings, defaults, alpn)))


def quic_tls(settings: ServerTLSSettings, *, alpn: Sequence[str]) -> TransportSocket:
    """The same within QUIC (pilot.md I6)."""
    context = _context(settings, MeshConfig.TLSConfig(), alpn)
    # Envoy refuses anything but TLS 1.3 there.
    context.common_tls_context.ClearField("tls_params")
    transport = QuicDownstreamTransport(downstream_tls_context=context)
    return TransportSocket(name=QUIC, typed_config=packed(transport))


def own_parameters(settings: ServerTLSSettings) -> TlsParameters | None:
    """Versions and cipher suites of settings that have any, those of the mesh for the others."""
    own = (
        settings.min_protocol_version,
        settings.max_protocol_version,
        len(settings.cipher_suites),
    )
    return _parameters(settings, MeshConfig.TLSConfig()) if any(own) else None


def _parameters(settings: ServerTLSSettings, defaults: MeshConfig.TLSConfig) -> TlsParameters:
    found = tls_parameters(defaults)
    if settings.min_protocol_version in _VERSIONS:
        found.tls_minimum_protocol_version = _VERSIONS[settings.min_protocol_version]
    if settings.max_protocol_version in _VERSIONS:
        found.tls_maximum_protocol_version = _VERSIONS[settings.max_protocol_version]
    if settings.cipher_suites or not defaults.cipher_suites:
        del found.cipher_suites[:]
        found.cipher_suites.extend(cipher_suites(settings.cipher_suites))
    return found


def _context(
    settings: ServerTLSSettings, defaults: MeshConfig.TLSConfig, alpn: Sequence[str]
) -> DownstreamTlsContext:
    common = CommonTlsContext(
        alpn_protocols=alpn,
        tls_params=_parameters(settings, defaults),
        tls_certificate_sds_secret_configs=[secret(each) for each in certificates(settings)],
    )
    context = DownstreamTlsContext(common_tls_context=common)
    if settings.mode in _VERIFYING:
        context.require_client_certificate.CopyFrom(
            BoolValue(value=settings.mode == ServerTLSSettings.MUTUAL)
        )
        _verify_clients(context.common_tls_context, settings)
    return context


def certificates(settings: ServerTLSSettings) -> Sequence[str]:
    """SDS names of the certificates of a server, from the one source that its settings use."""
    credentials = list(settings.credential_names) or [settings.credential_name]
    if any(credentials):
        return [names.kubernetes_credential(each) for each in credentials]
    pairs = [(each.server_certificate, each.private_key) for each in settings.tls_certificates]
    files = pairs or [(settings.server_certificate, settings.private_key)]
    return [names.file_certificate(*each) for each in files]


def client_roots(settings: ServerTLSSettings) -> str:
    """SDS name of the roots that client certificates are verified with (pilot.md I5)."""
    first = next(iter(settings.credential_names), settings.credential_name)
    if credential := settings.ca_cert_credential_name or first:
        return names.roots_credential(credential)
    files = [settings.ca_certificates]
    files += (each.ca_certificates for each in settings.tls_certificates)
    return names.file_roots(next(filter(None, files), ""), settings.ca_crl)


def _verify_clients(common: CommonTlsContext, settings: ServerTLSSettings) -> None:
    validation = CertificateValidationContext(
        verify_certificate_spki=settings.verify_certificate_spki,
        verify_certificate_hash=settings.verify_certificate_hash,
    )
    if settings.insecure_skip_verify.value:
        validation.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
        common.validation_context.CopyFrom(validation)
        return
    validation.match_typed_subject_alt_names.extend(
        SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=each))
        for each in settings.subject_alt_names
        for kind in _SAN_TYPES
    )
    combined = common.combined_validation_context
    combined.default_validation_context.CopyFrom(validation)
    combined.validation_context_sds_secret_config.CopyFrom(secret(client_roots(settings)))
