"""Join tokens at rest (citadel-and-agent.md A5, A12)."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.citadel.core.join_tokens import (
    expired,
    lifetime,
    new_record,
    token_key,
    token_text,
)
from mast.common.identity.spiffe import SpiffeId
from tests.unit.citadel.examples import HOUR, NOW

MINUTE = timedelta(minutes=1)
ME = SpiffeId("cluster.local", "shop", "reviews")


@given(st.binary(min_size=32, max_size=32))
def test_token_is_stored_by_its_hash_only(entropy: bytes) -> None:
    token = token_text(entropy)
    assert len(token) == 43
    assert token.replace("-", "a").replace("_", "a").isalnum()
    key = token_key(token)
    assert key == "ca/join-tokens/" + hashlib.sha256(token.encode()).hexdigest()
    assert token not in key + new_record(ME, MINUTE, NOW).SerializeToString().decode("latin-1")


def test_different_entropy_different_token() -> None:
    assert token_text(bytes(32)) != token_text(bytes(31) + b"\x01")


@pytest.mark.parametrize(
    ("requested", "granted"),
    [(None, 10 * MINUTE), (MINUTE, MINUTE), (24 * HOUR, 24 * HOUR)],
    ids=["default", "as-asked", "longest"],
)
def test_lifetime(requested: timedelta | None, granted: timedelta) -> None:
    assert lifetime(requested) == granted


@pytest.mark.parametrize("requested", [timedelta(), -MINUTE, 24 * HOUR + MINUTE])
def test_lifetime_is_bounded(requested: timedelta) -> None:
    with pytest.raises(ValueError, match=f"ttl {requested}: want more than 0 and at most 1 day"):
        lifetime(requested)


@pytest.mark.parametrize(
    ("after", "over"),
    [(timedelta(), False), (MINUTE - timedelta(microseconds=1), False), (MINUTE, True)],
)
def test_expired(after: timedelta, over: bool) -> None:
    record = new_record(ME, MINUTE, NOW)
    assert record.spiffe_id == str(ME)
    assert record.created_at.ToDatetime(tzinfo=NOW.tzinfo) == NOW
    assert expired(record, NOW + after) is over
