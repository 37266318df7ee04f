"""Whom a certificate is for: identities, and the DNS names of the control plane (A2, A3, A10).

Section numbers are those of citadel-and-agent.md.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence

from mast.common.identity.spiffe import SCHEME, SpiffeId

# The services that a control-plane account answers for.
CONTROL_PLANE: Mapping[str, Sequence[str]] = {
    "istio-pilot-service-account": ("istiod", "istio-pilot"),
    "istio-mixer-service-account": ("istio-policy", "istio-telemetry"),
    "istio-galley-service-account": ("istio-galley",),
    "istio-citadel-service-account": ("istio-citadel",),
    "istio-sidecar-injector-service-account": ("istio-sidecar-injector",),
}

LONGEST_DNS_NAME = 253

_DNS_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

DnsNames = Mapping[tuple[str, str], Sequence[str]]


def own_identity(uri: str, trust_domain: str, aliases: Collection[str] = ()) -> SpiffeId:
    """The identity that a peer's SAN stands for here (A3).

    An alias is accepted and never signed: the identity is in our own trust domain. Raises
    ValueError if the SAN has another form or is of a foreign trust domain.
    """
    peer = SpiffeId.parse(uri)
    if peer.trust_domain != trust_domain and peer.trust_domain not in aliases:
        raise ValueError(f"identity {uri!r}: trust domain is neither {trust_domain} nor an alias")
    return SpiffeId(trust_domain, peer.namespace, peer.service_account)


def control_plane_names(namespace: str, custom: Sequence[str] = ()) -> DnsNames:
    """DNS names by (namespace, service account): our own services' and the configured ones.

    ``custom`` entries read ``sa.ns:dns`` (``--custom-dns-names``, A10); the account has no dots.
    Raises ValueError naming the entry.
    """
    names: dict[tuple[str, str], list[str]] = {
        (namespace, account): [
            *(f"{service}.{namespace}{form}" for service in services for form in (".svc", "")),
            "localhost",
        ]
        for account, services in CONTROL_PLANE.items()
    }
    for entry in custom:
        account, dot, rest = entry.partition(".")
        where, colon, name = rest.partition(":")
        if not (account and dot and where and colon and _DNS_NAME.fullmatch(name)):
            raise ValueError(f"custom DNS name {entry!r}: want SERVICE-ACCOUNT.NAMESPACE:DNS-NAME")
        names.setdefault((where, account), []).append(name)
    return names


def own_name(name: str, trust_domain: str, aliases: Collection[str] = ()) -> str:
    """Any name that a peer has, as a SAN of ours: a SPIFFE ID as ``own_identity`` says.

    DNS names and IP addresses stay as they are; "" for what can be no SAN, as some common names.
    Raises ValueError for a SPIFFE ID of a foreign trust domain.
    """
    if name.startswith(SCHEME):
        return str(own_identity(name, trust_domain, aliases))
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        fits = _DNS_NAME.fullmatch(name) and len(name) <= LONGEST_DNS_NAME
        return name.lower() if fits else ""


def subject_names(identities: Sequence[str], dns: DnsNames) -> tuple[str, ...]:
    """The SANs of a leaf: its identities, then the DNS names of their accounts (A2)."""
    names = list(identities)
    for identity in identities:
        if identity.startswith(SCHEME):
            account = SpiffeId.parse(identity)
            names += dns.get((account.namespace, account.service_account), ())
    return tuple(dict.fromkeys(names))


def server_names(namespace: str, revision: str, extra: Sequence[str]) -> tuple[str, ...]:
    """The names of Citadel's own server certificate (A2, "Own server cert"), without repeats."""
    istiod = ["istiod", "istiod-remote", *([f"istiod-{revision}"] if revision else [])]
    istio = [f"istio-{name}" for name in ("pilot", "citadel", "galley", "policy", "telemetry")]
    names = [
        *(f"{name}.{namespace}.svc" for name in (*istiod, *istio)),
        "localhost",
        "istio-citadel",
        "istio-ca",
        "127.0.0.1",
        "::1",
        *extra,
    ]
    return tuple(dict.fromkeys(names))
