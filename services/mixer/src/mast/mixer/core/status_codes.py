"""gRPC status codes: their names, and the HTTP statuses that users see (mixer.md A36)."""

from __future__ import annotations

OK, UNKNOWN, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE = 0, 2, 8, 13, 14

_TABLE = (
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
)


def name(code: int) -> str:
    """The literal name of a code; numbers beyond the table stand for themselves."""
    return _TABLE[code][0] if 0 <= code < len(_TABLE) else f"Code({code})"


def http_status(code: int) -> int:
    """The HTTP status a proxy answers with (A36)."""
    return _TABLE[code][1] if 0 <= code < len(_TABLE) else 500


def body(code: int, message: str) -> str:
    """``CODE_NAME:message``, without the colon if there is no message (A37)."""
    return f"{name(code)}:{message}" if message else name(code)
