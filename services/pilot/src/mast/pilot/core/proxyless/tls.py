"""Mutual TLS of gRPC libraries: certificates come from the files that the bootstrap names (B29)."""

from collections.abc import Iterable
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateProviderPluginInstance,
    CertificateValidationContext,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from mast.pilot.core import names
from mast.pilot.core.packing import packed
from mast.pilot.core.security.transport_sockets import TLS

PROVIDER: Final = "default"
"""Name of the certificate provider in the bootstrap."""


def client(sni: str, identities: Iterable[str]) -> TransportSocket:
    """Mutual TLS with a server that has one of some SPIFFE IDs; without any, with each of the mesh.

    gRPC refuses versions and cipher suites, and reads identities from the field Envoy deprecated.
    """
    trusted = _trusted()
    trusted.match_subject_alt_names.extend(StringMatcher(exact=each) for each in identities)
    return _socket(UpstreamTlsContext(common_tls_context=_common(trusted), sni=sni))


def server() -> TransportSocket:
    """Mutual TLS with every client of the mesh; gRPC servers cannot tell trust domains apart."""
    return _socket(
        DownstreamTlsContext(
            common_tls_context=_common(_trusted()),
            require_client_certificate=BoolValue(value=True),
        )
    )


def _trusted() -> CertificateValidationContext:
    roots = CertificateProviderPluginInstance(
        instance_name=PROVIDER, certificate_name=names.SDS_ROOTS
    )
    return CertificateValidationContext(ca_certificate_provider_instance=roots)


def _common(trusted: CertificateValidationContext) -> CommonTlsContext:
    return CommonTlsContext(
        tls_certificate_provider_instance=CertificateProviderPluginInstance(
            instance_name=PROVIDER, certificate_name=names.SDS_CERTIFICATE
        ),
        combined_validation_context=CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=trusted
        ),
    )


def _socket(context: UpstreamTlsContext | DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(name=TLS, typed_config=packed(context))
