"""What each way in proves of a caller (citadel-and-agent.md A5, A6)."""

import ipaddress
from collections.abc import Callable
from urllib.parse import unquote

from mast.citadel.api.status import Context
from mast.citadel.core.authn import Credentials, Way
from mast.common.identity.tls_front import PeerTable

Transport = Callable[[Context, str], Credentials]
"""What a call brings; the text is the identity it asks for instead of its own, "" for none."""

_FORWARDED_FOR = "x-forwarded-for"


def through_tls(peers: PeerTable) -> Transport:
    """Callers that came through our TLS front, which verified their certificates."""

    def transport(context: Context, impersonated: str) -> Credentials:
        peer = peers.find(context.peer())
        return Credentials(
            peer.names if peer else (),
            _metadata(context),
            impersonated,
            Way.TLS,
            peer.address if peer else "",
        )

    return transport


def through_front() -> Transport:
    """Callers that came through the Envoy beside us; the last address it appended is theirs."""

    def transport(context: Context, impersonated: str) -> Credentials:
        found = Credentials((), _metadata(context), impersonated, Way.FRONT)
        hops = ",".join(found.values(_FORWARDED_FOR)).split(",")
        return Credentials(
            (), found.metadata, impersonated, Way.FRONT, plain_address(hops[-1].strip())
        )

    return transport


def in_plaintext() -> Transport:
    """Callers from the network that nobody authenticated."""

    def transport(context: Context, impersonated: str) -> Credentials:
        host = unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
        address = plain_address(host)
        return Credentials((), _metadata(context), impersonated, Way.PLAINTEXT, address)

    return transport


def on_socket(peers: PeerTable | None = None) -> Transport:
    """Callers on a Unix socket of this machine; with ``peers`` the user is known."""

    def transport(context: Context, impersonated: str) -> Credentials:
        peer = peers.find(context.peer()) if peers else None
        uid = peer.uid if peer else None
        return Credentials((), _metadata(context), impersonated, Way.SOCKET, "", uid)

    return transport


def asked_by(credentials: Credentials) -> str:
    """Whom limits count and the audit names: the address, or the user of a Unix socket."""
    if credentials.address:
        return credentials.address
    return "unix" if credentials.uid is None else f"unix:{credentials.uid}"


def _metadata(context: Context) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((str(k), v) for k, v in context.invocation_metadata() or ())


def plain_address(text: str) -> str:
    """A valid address as it is usually written, "" for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)
