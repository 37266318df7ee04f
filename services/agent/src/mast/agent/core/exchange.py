"""Exchanges of tokens, asked for and answered (RFC 8693; citadel-and-agent.md B1, `--stsPort`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type
FORM: Final = "application/x-www-form-urlencoded"

INVALID_REQUEST: Final = "invalid_request"
INVALID_TARGET: Final = "invalid_target"

_PASSED_ON: Final = (
    *("audience", "resource", "scope", "requested_token_type"),
    *("subject_token", "subject_token_type", "actor_token", "actor_token_type"),
)
_ASKS_FOR_ANOTHER: Final = ("audience", "resource", "scope")
_MARGIN: Final = timedelta(seconds=60)


class Refused(Exception):
    """An exchange that is not made; ``code`` is an error code of RFC 6749 or RFC 8693."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code

    def body(self) -> str:
        """The answer's JSON (RFC 6749 §5.2)."""
        return json.dumps({"error": self.code, "error_description": str(self)})


@dataclass(frozen=True)
class Exchange:
    """What is asked for: the fields of RFC 8693 §2.1 that have a value."""

    fields: Mapping[str, str]

    @property
    def for_another(self) -> bool:
        """Somebody's token is wanted, and not just the one that is shown."""
        return any(self.fields.get(name) for name in _ASKS_FOR_ANOTHER)

    @property
    def form(self) -> dict[str, str]:
        """The request to a token endpoint."""
        return {"grant_type": GRANT, **self.fields}

    @property
    def digest(self) -> str:
        """Tells requests apart, without a token in it."""
        return sha256(json.dumps(self.fields, sort_keys=True).encode()).hexdigest()

    def itself(self) -> dict[str, Any]:
        """The answer that is the token which was shown: who asked for nothing else gets it."""
        return {
            "access_token": self.fields["subject_token"],
            "issued_token_type": JWT,
            "token_type": "Bearer",
        }


def exchange(content_type: str, form: Mapping[str, str]) -> Exchange:
    """Read a request. Raises Refused that names the field and what is allowed."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise Refused(INVALID_REQUEST, f"content type {content_type!r}: want {FORM}")
    for name, wanted in (("grant_type", GRANT), ("subject_token_type", JWT)):
        if form.get(name, "") != wanted:
            raise Refused(INVALID_REQUEST, f"{name} {form.get(name, '')!r}: want {wanted}")
    if not form.get("subject_token"):
        raise Refused(INVALID_REQUEST, "subject_token: want a token")
    return Exchange({name: form[name] for name in _PASSED_ON if form.get(name)})


def answer(text: str) -> dict[str, Any]:
    """What a token endpoint answered with success. Raises Refused if it is no token."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("access_token"), str):
        raise Refused(INVALID_TARGET, "the token endpoint answered without an access_token")
    return {"issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", **found}


def refusal(status: int, text: str) -> Refused:
    """What a token endpoint answered otherwise; its own reason if it gives one."""
    try:
        found = json.loads(text)
        code, detail = str(found["error"]), str(found.get("error_description", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        code, detail = INVALID_TARGET, ""
    return Refused(code, detail or f"the token endpoint answered with status {status}")


def kept_until(found: Mapping[str, Any], now: datetime) -> datetime | None:
    """Until when an answer may be given again; None if it does not say how long it lives."""
    try:
        life = timedelta(seconds=float(found["expires_in"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return now + life - _MARGIN if life > _MARGIN else None
