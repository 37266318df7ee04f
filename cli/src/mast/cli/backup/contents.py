"""What of the store a backup holds, and whether each part of it is what it should be.

Left out is what services make anew: the registry, statuses, leaders, quotas, flows, join tokens,
and everything that hangs on a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from mast.citadel.core import issued, join_tokens
from mast.citadel.store.authorities import AUTHORITY_KEY
from mast.citadel.store.federation import FETCHED
from mast.common import keys
from mast.common.kinds import unpack
from mast.common.sealing import Sealed
from mast.galley.core import history, resources
from mastapi.citadel.v1.citadel_pb2 import FetchedBundle, SealedAuthority
from mastapi.citadel.v1.issued_pb2 import IssuedCertificate
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from mastapi.trust.v1.trust_pb2 import TrustBundle

ALWAYS: Final = (keys.CA, keys.TRUST, keys.SECRETS, keys.JWKS, keys.CONFIG)
"""In the order in which they are put back: who is trusted, before what trust is asked for."""
LEFT_OUT: Final = (join_tokens.PREFIX, keys.CA_RESTORING)

CA_KEY: Final = "ca"
SECRETS_KEY: Final = "secrets"
"""Names of the two sealing keys."""

_GUARDS: Final = tuple(
    f"{keys.CONFIG}istio/{area}/"
    for area in ("security", "rbac", "authentication", "policy", "config", "mesh")
)


def _resource(key: str, value: bytes) -> resources.Stored:
    found = resources.stored(key, value, 0)
    unpack(found.kind, found.resource.body)
    return found


def _message(kind: type[Message]) -> Callable[[str, bytes], Any]:
    return lambda _, value: kind.FromString(value)


# The first prefix that a key begins with says what is stored there.
_READERS: Final[Mapping[str, Callable[[str, bytes], Any]]] = {
    AUTHORITY_KEY: _message(SealedAuthority),
    issued.PREFIX: _message(IssuedCertificate),
    FETCHED: _message(FetchedBundle),
    keys.TRUST: _message(TrustBundle),
    keys.JWKS: _message(PublishedKeys),
    keys.CONFIG: _resource,
    keys.SECRETS: _resource,
    keys.HISTORY_CHANGES: lambda key, value: history.recorded(key, value, 0),
    keys.HISTORY_REPLACED: history.replaced,
}
_UNREADABLE: Final = (DecodeError, ValueError, resources.Unreadable)


def belongs(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a backup of these prefixes holds the key."""
    return key.startswith(prefixes) and not key.startswith(LEFT_OUT)


def defect(key: str, value: bytes) -> str | None:
    """Why the value is not what is stored under such a key; None if it is."""
    reader = next((each for prefix, each in _READERS.items() if key.startswith(prefix)), None)
    if reader is None:
        return "nothing of this name is known here"
    try:
        reader(key, value)
    except _UNREADABLE as error:
        return str(error)
    return None


def sealed(key: str, value: bytes) -> Iterator[tuple[str, Sealed]]:
    """What is sealed under a key, and the name of the key that opens it; nothing if nothing is."""
    if key == AUTHORITY_KEY:
        authority = SealedAuthority.FromString(value)
        yield CA_KEY, Sealed(authority.key_id, authority.nonce, authority.ciphertext)
    elif key.startswith(keys.SECRETS):
        found = _resource(key, value)
        secret: Any = unpack(found.kind, found.resource.body)
        yield SECRETS_KEY, Sealed(secret.key_id, secret.nonce, secret.ciphertext)


def rank(key: str) -> tuple[int, str]:
    """Where a key comes when all are put back: what guards, before what it guards."""
    if key.startswith(_GUARDS):
        return len(ALWAYS) - 1, key
    at = next((i for i, prefix in enumerate(ALWAYS[:-1]) if key.startswith(prefix)), None)
    return (len(ALWAYS) if at is None else at), key
