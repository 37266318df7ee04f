"""Gateway, and the server side of TLS that it shares with Sidecar (B2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.metadata import dns_label
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    forbidden,
    is_set,
    json_name,
    prefixed,
    required,
    when,
)

# What Envoy (BoringSSL) takes, in OpenSSL's spelling.
CIPHERS = frozenset(
    {
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA",
        "AES256-SHA", "DES-CBC3-SHA",
    }
)  # fmt: skip

_FILES = ("server_certificate", "private_key", "ca_certificates", "ca_crl")
_CREDENTIALS = ("credential_name", "credential_names", "tls_certificates")
_ALL_CERTIFICATES = (*_FILES, *_CREDENTIALS, "ca_cert_credential_name")


def _object(obj: ConfigObject) -> Iterator[Finding]:
    yield from when(dns_label(obj.meta.name), ("metadata", "name"), "name")
    if not obj.spec.servers:
        yield required((*SPEC, "servers"), "servers")
    yield from common.selector_labels(obj.spec.selector, (*SPEC, "selector"))
    names = [server.port.name for server in obj.spec.servers]
    for index in values.duplicates(names):
        if names[index]:
            message = f"port name {names[index]!r} is given twice"
            yield Finding((*SPEC, "servers", index, "port", "name"), "duplicate", message)


def _server(server: Any, at: Path) -> Iterator[Finding]:
    protocol = server.port.protocol.upper()
    on_unix = server.bind.startswith("unix:")
    for index, host in enumerate(server.hosts):
        yield from when(_server_host(host), (*at, "hosts", index), "host")
    here = (*at, "port", "number")
    if server.port.number and on_unix:
        yield Finding(here, "port", "port must be 0 with a Unix socket")
    elif not server.port.number and not on_unix and is_set(server, "port"):
        yield required(here, "number")
    if server.port.target_port:
        message = "'targetPort' is not allowed in a Gateway"
        yield Finding((*at, "port", "targetPort"), "not-allowed", message)
    yield from _tls_for(protocol, server, at)


def _server_host(host: str) -> str | None:
    """``[namespace/]host``: a host with a dot, a wildcard or an address."""
    namespace, slash, name = host.rpartition("/")
    if slash and namespace not in {".", "*"} and (complaint := dns_label(namespace)):
        return complaint
    if values.ip(name) is None:
        return None
    if name != "*" and "." not in name:
        return f"{host!r} is a short name; write the whole host name"
    return values.wildcard(name)


def _tls_for(protocol: str, server: Any, at: Path) -> Iterator[Finding]:
    """Which protocols go with TLS settings."""
    here = (*at, "tls")
    if protocol in values.TLS_PROTOCOLS:
        if not is_set(server, "tls"):
            yield required(here, "tls")
        elif server.tls.https_redirect:
            message = "'httpsRedirect' has no effect on a port that speaks TLS"
            yield warning((*here, "httpsRedirect"), "no-effect", message)
    elif is_set(server, "tls"):
        if protocol not in values.HTTP_PROTOCOLS:
            message = f"'tls' is not allowed for protocol {protocol}"
            yield Finding(here, "not-allowed", message)
            return
        why = "for plain HTTP; only httpsRedirect is"
        yield from forbidden(server.tls, here, why, "mode", *_ALL_CERTIFICATES)


def server_tls(tls: Any, at: Path) -> Iterator[Finding]:
    """Certificates that fit the mode, from one source (B2 tls.mode)."""
    passing = tls.mode in {tls.PASSTHROUGH, tls.AUTO_PASSTHROUGH}
    sources = [name for name in ("server_certificate", *_CREDENTIALS) if is_set(tls, name)]
    if tls.mode == tls.ISTIO_MUTUAL:
        yield from forbidden(tls, at, "in mode ISTIO_MUTUAL", *_ALL_CERTIFICATES)
    elif passing:
        for name in _ALL_CERTIFICATES:
            if is_set(tls, name) and not tls.https_redirect:
                shown = json_name(tls, name)
                message = f"{shown!r} has no effect: TLS passes through"
                yield warning((*at, shown), "no-effect", message)
    else:
        yield from _certificates(tls, sources, at)
    if len(sources) > 1:
        first, second = (json_name(tls, name) for name in sources[:2])
        yield Finding((*at, second), "one-of", f"only one of {first!r} and {second!r} may be set")
    if len(tls.tls_certificates) > 2:
        message = "at most two certificates are used, one RSA and one ECDSA"
        yield warning((*at, "tlsCertificates"), "certificates", message)
    yield from _ciphers(tls, at)


def _certificates(tls: Any, sources: list[str], at: Path) -> Iterator[Finding]:
    """SIMPLE needs a certificate with its key; the mutual modes also what clients are judged by."""
    if not sources:
        yield required((*at, "serverCertificate"), "serverCertificate", "credentialName")
    if sources == ["server_certificate"] and not tls.private_key:
        yield required((*at, "privateKey"), "privateKey")
    for index, pair in enumerate(tls.tls_certificates):
        for name in ("server_certificate", "private_key"):
            if not is_set(pair, name):
                shown = json_name(pair, name)
                yield required((*at, "tlsCertificates", index, shown), shown)
    if tls.mode in {tls.MUTUAL, tls.OPTIONAL_MUTUAL}:
        by_credential = tls.credential_name or tls.credential_names or tls.ca_cert_credential_name
        if not (tls.ca_certificates or by_credential):
            yield required((*at, "caCertificates"), "caCertificates", "credentialName")
    if tls.ca_crl and (tls.credential_name or tls.mode == tls.SIMPLE):
        why = "with 'credentialName'" if tls.credential_name else "in mode SIMPLE"
        yield Finding((*at, "caCrl"), "not-allowed", f"'caCrl' is not allowed {why}")


def _ciphers(tls: Any, at: Path) -> Iterator[Finding]:
    suites = list(tls.cipher_suites)
    for index, suite in enumerate(suites):
        if suite not in CIPHERS:
            message = f"{suite!r} is unknown and ignored"
            yield warning((*at, "cipherSuites", index), "cipher", message)
    for index in values.duplicates(suites):
        message = f"{suites[index]!r} is given twice"
        yield warning((*at, "cipherSuites", index), "cipher", message)
    old = tls.min_protocol_version in {tls.TLSV1_0, tls.TLSV1_1}
    if old and not suites:
        message = "TLS before 1.2 needs 'cipherSuites': the default ones do not work with it"
        yield warning((*at, "minProtocolVersion"), "cipher", message)
    if (
        tls.max_protocol_version
        and tls.min_protocol_version
        and tls.max_protocol_version < tls.min_protocol_version
    ):
        message = "the highest version is below the lowest"
        yield Finding((*at, "maxProtocolVersion"), "tls-version", message)


_PACKAGE = "istio.networking.v1alpha3"

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            "Server.bind": ("bind", values.ip_or_unix),
            "Server.name": ("name", values.at_most(253)),
            "Port.number": ("port", values.port),
            "Port.protocol": ("protocol", values.protocol),
        },
    ),
    messages=prefixed(_PACKAGE, {"Server": _server, "ServerTLSSettings": server_tls}),
    objects={"Gateway": _object},
    # 0 goes with a Unix socket.
    optional=frozenset({f"{_PACKAGE}.Port.number"}),
)
