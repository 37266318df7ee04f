"""TLS that a server port asks of its clients as its own settings say (Istio ServerTLSSettings)."""

from collections.abc import Sequence
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
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

from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from mast.pilot.core import names
from mast.pilot.core.packing import packed
from mast.pilot.core.security.transport_sockets import TLS, cipher_suites, secret

_VERSIONS: Final = {
    ServerTLSSettings.TLSV1_0: TlsParameters.TLSv1_0,
    ServerTLSSettings.TLSV1_1: TlsParameters.TLSv1_1,
    ServerTLSSettings.TLSV1_2: TlsParameters.TLSv1_2,
    ServerTLSSettings.TLSV1_3: TlsParameters.TLSv1_3,
}
_SAN_TYPES: Final = (SubjectAltNameMatcher.URI, SubjectAltNameMatcher.DNS)


def terminates(settings: ServerTLSSettings | None) -> bool:
    """The server ends TLS with a certificate of its own."""
    return settings is not None and settings.mode in (
        ServerTLSSettings.SIMPLE,
        ServerTLSSettings.MUTUAL,
    )


def server_tls(settings: ServerTLSSettings, *, alpn: Sequence[str]) -> TransportSocket:
    """TLS with certificate, key and client roots in files, which the agent serves (pilot.md C).

    MUTUAL asks for a client certificate, of one of `subjectAltNames` if there are any.
    """
    common = CommonTlsContext(
        alpn_protocols=alpn,
        tls_params=_parameters(settings),
        tls_certificate_sds_secret_configs=[
            secret(names.file_certificate(settings.server_certificate, settings.private_key))
        ],
    )
    context = DownstreamTlsContext(common_tls_context=common)
    if settings.mode == ServerTLSSettings.MUTUAL:
        context.require_client_certificate.CopyFrom(BoolValue(value=True))
        combined = context.common_tls_context.combined_validation_context
        combined.default_validation_context.CopyFrom(
            CertificateValidationContext(
                match_typed_subject_alt_names=[
                    SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=each))
                    for each in settings.subject_alt_names
                    for kind in _SAN_TYPES
                ]
            )
        )
        combined.validation_context_sds_secret_config.CopyFrom(
            secret(names.file_roots(settings.ca_certificates))
        )
    return TransportSocket(name=TLS, typed_config=packed(context))


def _parameters(settings: ServerTLSSettings) -> TlsParameters:
    return TlsParameters(
        tls_minimum_protocol_version=_VERSIONS.get(
            settings.min_protocol_version, TlsParameters.TLSv1_2
        ),
        tls_maximum_protocol_version=_VERSIONS.get(
            settings.max_protocol_version, TlsParameters.TLSv1_3
        ),
        cipher_suites=cipher_suites(settings.cipher_suites),
    )
