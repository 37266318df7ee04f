"""What the API server refuses, by status and reason (Kubernetes API, "Status")."""

from __future__ import annotations

from typing import Any


class ApiFailure(Exception):
    """A call of the Kubernetes API came to nothing."""


class Unreachable(ApiFailure):
    """There was no answer, or none that is understood; a write may have happened all the same."""


class ApiError(ApiFailure):
    """The API server answered with a Status that is no success; ``reason`` is its word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Unauthorized(ApiError):
    """401: our own credentials are not accepted."""


class Forbidden(ApiError):
    """403: a role lacks the right, or admission refused (a terminating namespace does)."""


class NotFound(ApiError):
    """404: there is no such object, or no such kind."""


class Conflict(ApiError):
    """409: the object is at another resourceVersion than the one that was told."""


class AlreadyExists(Conflict):
    """409 of a creation: the name is taken."""


class Expired(ApiError):
    """410: the resourceVersion or the continue token is too old."""


class Invalid(ApiError):
    """422 or 400: the object does not hold what it must."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}


def api_error(status: int, body: Any) -> ApiError:
    """The error that a Status object stands for; any other body counts as a bare status."""
    found = body if isinstance(body, dict) else {}
    stated = found.get("code")
    code = stated if isinstance(stated, int) else status
    reason = str(found.get("reason") or "Unknown")
    message = str(found.get("message") or "no message")[:1000]
    kind = AlreadyExists if reason == "AlreadyExists" else _BY_STATUS.get(code, ApiError)
    return kind(code, reason, message)
