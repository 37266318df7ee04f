"""Join tokens: one-use secrets for machines without a platform's token (A5, A12).

Only a token's SHA-256 is ever stored. Section numbers are those of citadel-and-agent.md.
"""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from mast.common.identity.spiffe import SpiffeId
from mast.common.keys import CA
from mastapi.citadel.v1 import citadel_pb2

PREFIX = f"{CA}join-tokens/"
ENTROPY_BYTES = 32
DEFAULT_TTL = timedelta(minutes=10)
MAX_TTL = timedelta(hours=24)


def token_text(entropy: bytes) -> str:
    """A token from random bytes, of characters that need no quoting anywhere."""
    return urlsafe_b64encode(entropy).rstrip(b"=").decode()


def token_key(token: str) -> str:
    """Where the record of a token is stored."""
    return PREFIX + sha256(token.encode()).hexdigest()


def lifetime(requested: timedelta | None) -> timedelta:
    """How long a token may be redeemed; ValueError unless above zero and at most 24 h."""
    if requested is None:
        return DEFAULT_TTL
    if not timedelta() < requested <= MAX_TTL:
        raise ValueError(f"ttl {requested}: want more than 0 and at most {MAX_TTL}")
    return requested


def new_record(identity: SpiffeId, ttl: timedelta, now: datetime) -> citadel_pb2.JoinTokenRecord:
    """The record of a token that is made now."""
    stored = citadel_pb2.JoinTokenRecord(spiffe_id=str(identity))
    stored.created_at.FromDatetime(now)
    stored.expires_at.FromDatetime(now + ttl)
    return stored


def expired(record: citadel_pb2.JoinTokenRecord, now: datetime) -> bool:
    """Whether a token is worth nothing any more."""
    return now >= record.expires_at.ToDatetime(tzinfo=UTC)
