"""Refusals of an API server (Kubernetes API, "Status")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mast.common.kubernetes.objects import Object


@dataclass(frozen=True)
class Cause:
    """One of several reasons, with the field that it is about."""

    reason: str
    message: str
    field: str

    def body(self) -> Object:
        return {"reason": self.reason, "message": self.message, "field": self.field}


class Status(Exception):
    """A Status that is no success; ``retry_after`` in seconds asks to come again."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: Sequence[Cause] = (),
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.causes = tuple(causes)
        self.retry_after = retry_after

    def body(self) -> Object:
        details: Object = {}
        if self.causes:
            details["causes"] = [each.body() for each in self.causes]
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            **({"details": details} if details else {}),
            "code": self.code,
        }

    def headers(self) -> dict[str, str]:
        """What the response says beside its body."""
        return {"Retry-After": str(self.retry_after)} if self.retry_after else {}


def bad_request(message: str) -> Status:
    """400: the request itself is wrong."""
    return Status(400, "BadRequest", message)


def invalid(kind: str, name: str, *problems: tuple[str, str]) -> Status:
    """422 for an object: ``problems`` are fields and what is wrong with them."""
    told = ", ".join(f"{field}: {message}" for field, message in problems)
    causes = [Cause("FieldValueInvalid", message, field) for field, message in problems]
    return Status(422, "Invalid", f'{kind} "{name}" is invalid: {told}', causes=causes)
