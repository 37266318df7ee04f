"""Keys, tokens and passwords are taken out of what people read: logs, and pages for operators."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

REDACTED: Final = "[redacted]"

_PASSWORD: Final = re.compile(r"(://[^/?#\s:@]*:)[^/?#\s]+@")
"""The part of a URL that says who asks (RFC 3986 3.2.1)."""

_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*-----|\Z)")
_TOKEN: Final = re.compile(r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic) +[\w.~+/=-]{6,}")


def without_passwords(text: str) -> str:
    """A text whose URLs tell no passwords."""
    return _PASSWORD.sub(rf"\1{REDACTED}@", text) if "://" in text else text


def redacted_text(text: str) -> str:
    """A text without private keys (PEM), tokens (JWT, "Bearer …") and passwords of URLs."""
    if "PRIVATE KEY" in text:
        text = _KEY.sub(REDACTED, text)
    if "eyJ" in text:
        text = _TOKEN.sub(REDACTED, text)
    lowered = text.lower()
    if "bearer " in lowered or "basic " in lowered:
        text = _BEARER.sub(rf"\1 {REDACTED}", text)
    return without_passwords(text)


def redacted(value: Any) -> Any:
    """The same for every text in a value of a log line; errors become their texts."""
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, Mapping):
        return {key: redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(each) for each in value]
    return redacted_text(str(value)) if isinstance(value, BaseException) else value


def redact_event(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """A processor of structlog: the last look at a line before it is written."""
    return {key: redacted(value) for key, value in event.items()}
