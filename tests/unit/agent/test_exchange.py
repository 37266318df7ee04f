"""Exchanges of tokens (RFC 8693; citadel-and-agent.md B1, `--stsPort`)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mast.agent.core.exchange import (
    ACCESS_TOKEN,
    FORM,
    GRANT,
    INVALID_TARGET,
    JWT,
    Refused,
    answer,
    exchange,
    kept_until,
    refusal,
)
from mast.agent.store.token_endpoint import check_url

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SHOWN = {"grant_type": GRANT, "subject_token": "T", "subject_token_type": JWT}


@pytest.mark.parametrize(
    ("content_type", "form", "problem"),
    [
        pytest.param("application/json", SHOWN, "content type 'application/json'", id="type"),
        pytest.param(
            FORM, {**SHOWN, "grant_type": "password"}, "grant_type 'password'", id="grant"
        ),
        pytest.param(
            FORM, {**SHOWN, "subject_token": ""}, "subject_token: want a token", id="token"
        ),
        pytest.param(
            FORM, {**SHOWN, "subject_token_type": "x"}, f"'x': want {JWT}", id="token-type"
        ),
        pytest.param(FORM, {}, "grant_type ''", id="nothing"),
    ],
)
def test_wrong_requests(content_type: str, form: dict[str, str], problem: str) -> None:
    with pytest.raises(Refused, match=problem.replace("[", r"\[")) as refused:
        exchange(content_type, form)
    assert json.loads(refused.value.body())["error"] == "invalid_request"


def test_what_is_passed_on() -> None:
    wanted = exchange(f"{FORM}; charset=utf-8", {**SHOWN, "audience": "a", "scope": "", "x": "y"})
    assert wanted.form == {**SHOWN, "audience": "a"}
    assert wanted.for_another
    assert wanted.digest != exchange(FORM, {**SHOWN, "audience": "b"}).digest
    assert "T" not in wanted.digest


def test_without_a_target_the_token_is_its_own_exchange() -> None:
    wanted = exchange(FORM, SHOWN)
    assert not wanted.for_another
    assert wanted.itself() == {
        "access_token": "T",
        "issued_token_type": JWT,
        "token_type": "Bearer",
    }


def test_answers_are_completed() -> None:
    assert answer('{"access_token": "A", "expires_in": 9}') == {
        "access_token": "A",
        "expires_in": 9,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"access_token": 7}'])
def test_answers_without_a_token(text: str) -> None:
    with pytest.raises(Refused, match="without an access_token"):
        answer(text)


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ('{"error": "invalid_scope", "error_description": "no"}', "invalid_scope", "no"),
        ('{"error": "invalid_scope"}', "invalid_scope", "answered with status 400"),
        ("<html>", INVALID_TARGET, "answered with status 400"),
        ("[]", INVALID_TARGET, "answered with status 400"),
    ],
)
def test_refusals_of_the_endpoint(text: str, code: str, detail: str) -> None:
    refused = refusal(400, text)
    assert refused.code == code
    assert detail in str(refused)


@pytest.mark.parametrize(
    ("found", "until"),
    [
        ({"expires_in": 3600}, NOON + timedelta(minutes=59)),
        ({"expires_in": "120"}, NOON + timedelta(minutes=1)),
        ({"expires_in": 60}, None),
        ({}, None),
        ({"expires_in": "soon"}, None),
        ({"expires_in": 1e300}, None),
    ],
)
def test_how_long_answers_are_kept(found: dict[str, Any], until: datetime | None) -> None:
    assert kept_until(found, NOON) == until


@pytest.mark.parametrize("url", ["", "https://sts.test/token", "http://127.0.0.1:9/t"])
def test_endpoints(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["http://sts.test/token", "ftp://x", "sts.test", "https://"])
def test_endpoints_without_tls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="MAST_TOKEN_EXCHANGE_URL"):
        check_url(url)
