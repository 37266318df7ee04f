"""What callers are told (citadel-and-agent.md A4)."""

from __future__ import annotations

import pytest

from mast.citadel.core import refusals


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (refusals.Unauthenticated, "request authenticate failure"),
        (refusals.ImpersonationRefused, "request impersonation authentication failure"),
        (refusals.CredentialsUnverifiable, "credentials cannot be verified at the moment"),
        (refusals.RateLimited, "too many requests"),
        (refusals.CaNotReady, "CSR signing error (secret {0})"),
        (refusals.BadCsr, "CSR signing error (secret {0})"),
        (refusals.TtlTooLong, "CSR signing error (secret {0})"),
        (refusals.SigningFailed, "CSR signing error (signing failed)"),
    ],
)
def test_what_the_caller_and_the_log_are_told(kind: type[refusals.Refusal], told: str) -> None:
    refusal = kind("secret {0}")
    assert str(refusal) == told
    assert refusal.reason == "secret {0}"
