"""Verdicts as Envoy takes them, with what its check cache must know (mixer_proxy.md K1, K4, K5)."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.protobuf.wrappers_pb2 import BoolValue

from mast.mixer.core import status_codes
from mast.mixer.core.engine import (
    CheckVerdict,
    Condition,
    QuotaGrant,
    Reference,
    RouteDirective,
)
from mast.mixer.core.envoy_attributes import OUTBOUND
from mast.mixer.core.header_changes import HeaderChanges, collapsed

LIFETIME = timedelta(seconds=5)
"""How long a proxy may keep a verdict unless a setting says else.

Differs from Istio, whose proxies keep it for its whole validity, a minute by default: labels of
workloads and lists of adapters would take as long to count. One check in five seconds per kind of
request costs next to nothing.
"""

GRANT_VALIDITY = timedelta(minutes=1)
"""Of granted tokens that have no validity of their own (C11)."""

RESPONSES = 1000
"""Responses that are remembered; when there are more, all are forgotten."""

# What the check cache can read, by attribute; several may stem from one thing that it reads.
_READABLE = frozenset(
    {
        "request.host",
        "request.method",
        "request.path",
        "request.url_path",
        "request.scheme",
        "request.useragent",
        "request.referer",
        "request.id",
        "request.size",
        "context.protocol",
        "origin.ip",
        "source.principal",
        "source.user",
        "destination.principal",
        "connection.mtls",
        "connection.requested_server_name",
        "destination.service.host",
        "destination.service.name",
        "destination.service.namespace",
        "destination.service.uid",
        "destination.ip",
        "destination.port",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
    }
)
_READABLE_MAPS = frozenset({"request.headers", "request.query_params", "request.auth.claims"})
_ABOUT_SOURCE = frozenset({"source.uid", "source.ip", "source.namespace"})
_UNREADABLE = frozenset({"request.time", "request.auth.raw_claims"})
_OF_LISTENER = frozenset({"context.reporter.kind", "context.reporter.uid", "context.proxy_version"})
_OWN = {
    True: frozenset({"source.uid", "source.namespace"}),
    False: frozenset({"destination.uid", "destination.namespace", "destination.mesh.id"}),
}

Item: TypeAlias = tuple[str, str] | tuple[str, str, str]
_SOURCE: Item = ("E", "source")


def shape(references: Iterable[Reference], kind: str) -> tuple[Item, ...] | None:
    """What a verdict depends on in words of the check cache; None if it cannot tell (K4).

    What one listener's requests have in common is left out: each has a cache of its own. So is
    what no request of Envoy has.
    """
    outbound = kind == OUTBOUND
    constant = _OF_LISTENER | _OWN[outbound]
    items: set[Item] = set()
    for name, key, condition in references:
        if name in constant:
            continue
        if condition is Condition.REGEX or name in _UNREADABLE:
            return None
        letter = "A" if condition is Condition.ABSENCE else "E"
        if name in _ABOUT_SOURCE and not outbound:
            items.add(_SOURCE)
        elif name in _READABLE:
            if not (outbound and name in {"destination.ip", "destination.port"}):
                items.add((letter, name))
        elif name in _READABLE_MAPS:
            items.add((letter, name) if key is None else (letter, name, key))
        elif letter == "E":
            return None
    return tuple(sorted(items))


@dataclass(frozen=True, slots=True)
class Charge:
    """A quota that a request must be granted ``amount`` of; ``stock`` is kept for later ones."""

    quota: str
    amount: int
    stock: int = 0


@dataclass(frozen=True, slots=True)
class Charges:
    """All charges of a request, and what in it decides that it is these (C17)."""

    charges: Sequence[Charge] = ()
    references: Sequence[Reference] = ()

    def exhausted(self, grants: Mapping[str, QuotaGrant]) -> list[str]:
        """Names of the quotas that were not granted (C8)."""
        return [
            each.quota
            for each in self.charges
            if each.quota in grants
            and not _unavailable(grants[each.quota])
            and grants[each.quota].amount < each.amount
        ]


def _unavailable(grant: QuotaGrant) -> bool:
    return grant.status.code == status_codes.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class _Answer:
    """The HTTP side of a verdict: a denial if ``status`` is not 200 or given by a directive."""

    code: int = 0
    message: str = ""
    status: int = 200
    body: str = ""
    request: HeaderChanges = field(default_factory=HeaderChanges)
    response: HeaderChanges = field(default_factory=HeaderChanges)
    direct: bool = False


def check_response(
    verdict: CheckVerdict,
    charges: Charges,
    kind: str,
    headers: Container[str] = (),
    configuration: str = "",
    lifetime: timedelta = LIFETIME,
) -> CheckResponse:
    """The response to an HTTP or TCP check, with metadata for the check cache.

    ``headers`` are those of the request: Envoy appends only to what is there (K1).
    ``configuration`` tells which one the verdict is of, "" if that is not known; it is kept for
    ``lifetime`` at most.
    """
    answer = _answer(verdict)
    exhausted = charges.exhausted(verdict.quotas)
    metadata = _metadata(verdict, charges, answer, kind, lifetime)
    if exhausted and not (answer.code or answer.direct):
        code, text = (
            status_codes.RESOURCE_EXHAUSTED,
            f"Quota is exhausted for: {','.join(exhausted)}",
        )
        answer = _denial(code, text, None)
    if answer.code:
        metadata["error_code"] = answer.code
        metadata["error_message"] = answer.message
    if configuration:
        metadata["configuration"] = configuration
    response = CheckResponse()
    response.dynamic_metadata.update(metadata)
    if answer.code or answer.direct:
        _deny(response, answer)
    else:
        _allow(response, answer, headers)
    return response


class Responses:
    """Responses by verdict of one configuration: most are equal to one given before."""

    def __init__(
        self, limit: int = RESPONSES, configuration: str = "", lifetime: timedelta = LIFETIME
    ) -> None:
        self.configuration = configuration
        self._limit = limit
        self._lifetime = lifetime
        self._known: dict[Hashable, CheckResponse] = {}

    def of(
        self, verdict: CheckVerdict, charges: Charges, kind: str, headers: Container[str] = ()
    ) -> CheckResponse:
        """See :func:`check_response`; what is returned must not be changed."""
        if charges.charges or charges.references or verdict.directive:
            return self._made(verdict, charges, kind, headers)
        key = (
            verdict.status,
            verdict.valid_duration,
            verdict.valid_use_count,
            verdict.referenced,
            kind,
        )
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:
                self._known.clear()
            found = self._known[key] = self._made(verdict, charges, kind, headers)
        return found

    def _made(
        self, verdict: CheckVerdict, charges: Charges, kind: str, headers: Container[str]
    ) -> CheckResponse:
        return check_response(verdict, charges, kind, headers, self.configuration, self._lifetime)


def error_response(code: int, message: str, configuration: str = "") -> CheckResponse:
    """No verdict: the fail policy of the proxy decides; on fail-close it answers this (A39, K2)."""
    response = CheckResponse()
    response.status.code = code
    response.status.message = message
    response.error_response.status.code = status_codes.http_status(code)  # type: ignore[assignment]
    response.error_response.body = status_codes.body(code, message)
    response.dynamic_metadata.update({"error_code": code, "error_message": message})
    if configuration:
        response.dynamic_metadata["configuration"] = configuration
    return response


def _answer(verdict: CheckVerdict) -> _Answer:
    code, message, directive = verdict.status.code, verdict.status.message, verdict.directive
    if code or (directive and directive.direct_response_code):
        return _denial(code, message, directive)
    if directive is None:
        return _Answer()
    return _Answer(
        request=collapsed(directive.request_operations, joined=True),
        response=collapsed(directive.response_operations, joined=False),
    )


def _denial(code: int, message: str, directive: RouteDirective | None) -> _Answer:
    """A direct response says everything itself; other denials are made of the status (A37)."""
    if directive is not None and directive.direct_response_code:
        return _Answer(
            code=code,
            message=message,
            status=directive.direct_response_code,
            body=directive.direct_response_body,
            response=collapsed(directive.response_operations, joined=False),
            direct=True,
        )
    text = status_codes.body(code, message)
    return _Answer(code=code, message=message, status=status_codes.http_status(code), body=text)


def _deny(response: CheckResponse, answer: _Answer) -> None:
    response.status.code = answer.code or status_codes.UNKNOWN
    response.status.message = answer.message
    denied = response.denied_response
    denied.status.code = answer.status  # type: ignore[assignment]
    denied.body = answer.body
    denied.headers.extend(_additions(answer.response))


def _allow(response: CheckResponse, answer: _Answer, headers: Container[str]) -> None:
    allowed = response.ok_response
    for name, value in answer.request.set:
        allowed.headers.add(header=HeaderValue(key=name, value=value))
    for name, value in answer.request.append:
        allowed.headers.add(
            header=HeaderValue(key=name, value=value), append=BoolValue(value=name in headers)
        )
    allowed.headers_to_remove.extend(answer.request.remove)
    allowed.response_headers_to_add.extend(_additions(answer.response))


def _additions(changes: HeaderChanges) -> Iterable[HeaderValueOption]:
    for pairs, action in (
        (changes.set, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        (changes.append, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
    ):
        for name, value in pairs:
            yield HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def _metadata(
    verdict: CheckVerdict, charges: Charges, answer: _Answer, kind: str, lifetime: timedelta
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if answer.response.remove and not (answer.code or answer.direct):
        found["response_remove"] = list(answer.response.remove)
    items = shape((*verdict.referenced, *charges.references), kind)
    shapes = {name: shape(grant.referenced, kind) for name, grant in verdict.quotas.items()}
    if items is None or None in shapes.values() or not _cacheable(verdict):
        return found
    check: dict[str, Any] = {
        "shape": [list(item) for item in items],
        "uses": verdict.valid_use_count,
        "valid_ms": _milliseconds(min(verdict.valid_duration, lifetime)),
    }
    found["check"] = check
    if answer.code or answer.direct:
        check["denial"] = _cached_denial(answer)
        return found
    if answer.request:
        check["request_operations"] = _operations(answer.request)
    if answer.response:
        check["response_operations"] = _operations(answer.response)
    if charges.charges:
        cached = [(each, shapes.get(each.quota) or ()) for each in charges.charges]
        check["quotas"] = [
            {"name": each.quota, "charge": each.amount, "shape": [list(item) for item in items]}
            for each, items in cached
        ]
        found["grants"] = [
            {**_grant(each, verdict.quotas[each.quota]), "shape": [list(item) for item in items]}
            for each, items in cached
            if each.quota in verdict.quotas and not _unavailable(verdict.quotas[each.quota])
        ]
    return found


def _cacheable(verdict: CheckVerdict) -> bool:
    """Verdicts of no validity and passing failures are not kept (C6, A26)."""
    return (
        verdict.valid_use_count != 0
        and verdict.valid_duration > timedelta()
        and verdict.status.code != status_codes.UNAVAILABLE
    )


def _cached_denial(answer: _Answer) -> dict[str, Any]:
    headers = (*answer.response.set, *answer.response.append)
    return {
        "http": answer.status,
        "code": answer.code,
        "message": answer.message,
        "body": answer.body,
        "headers": [list(each) for each in headers],
    }


def _operations(changes: HeaderChanges) -> dict[str, Any]:
    return {
        "set": [list(each) for each in changes.set],
        "append": [list(each) for each in changes.append],
        "remove": list(changes.remove),
    }


def _grant(charge: Charge, grant: QuotaGrant) -> dict[str, Any]:
    return {
        "name": charge.quota,
        "charge": charge.amount,
        # Less stock than the proxy would like does not mean that the quota is exhausted.
        "asked": charge.amount,
        "granted": grant.amount,
        "valid_ms": _milliseconds(grant.valid_duration or GRANT_VALIDITY),
    }


def _milliseconds(length: timedelta) -> int:
    return int(length / timedelta(milliseconds=1))
