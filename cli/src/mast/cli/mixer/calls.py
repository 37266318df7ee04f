"""Check and Report calls to a running Mixer, and what its answers say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from istio.mixer.v1.attributes_pb2 import CompressedAttributes
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.values import Attributes, Duration
from mast.mixer.core.wire import Numbering, encode, encode_shared

CALL_SECONDS = 10


@dataclass(frozen=True)
class Answer:
    """The verdict of one Check."""

    response: mixer_pb2.CheckResponse

    @property
    def status(self) -> str:
        """Name of the status code, and its message if there is one."""
        status = self.response.precondition.status
        code = _NAMES.get(status.code, f"Code {status.code}")
        return f"{code} ({status.message})" if status.message else code

    def document(self) -> dict[str, Any]:
        """For programs; words in place of indices."""
        precondition = self.response.precondition
        found: dict[str, Any] = {
            "status": {
                "code": precondition.status.code,
                "name": _NAMES.get(precondition.status.code, ""),
                "message": precondition.status.message,
            },
            "validDuration": _duration(precondition.valid_duration),
            "validUseCount": precondition.valid_use_count,
            "referencedAttributes": _references(precondition.referenced_attributes),
        }
        if precondition.HasField("route_directive"):
            found["routeDirective"] = _directive(precondition.route_directive)
        found["quotas"] = {
            name: {
                "grantedAmount": result.granted_amount,
                "validDuration": _duration(result.valid_duration),
                "referencedAttributes": _references(result.referenced_attributes),
            }
            for name, result in sorted(self.response.quotas.items())
        }
        return found

    def lines(self) -> Iterator[str]:
        """As mixc prints it (mixer.md I3), and what is to become of headers."""
        precondition = self.response.precondition
        duration = _duration(precondition.valid_duration)
        yield f"Check RPC completed successfully. Check status was {self.status}"
        yield f"  Valid use count: {precondition.valid_use_count}, valid duration: {duration}"
        yield "  Referenced Attributes"
        for name in sorted(_matches(precondition.referenced_attributes)):
            yield f"    {name}"
        if precondition.HasField("route_directive"):
            yield from _directive_lines(_directive(precondition.route_directive))
        if self.response.quotas:
            rows = [("Quota", "Granted Amount", "Duration")]
            rows += [
                (name, str(result.granted_amount), _duration(result.valid_duration))
                for name, result in sorted(self.response.quotas.items())
            ]
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            for row in rows:
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                yield f"  {'  '.join(cells)}".rstrip()


@asynccontextmanager
async def mixer(address: str) -> AsyncIterator[mixer_pb2_grpc.MixerStub]:
    """Mixer's API in plain text."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield mixer_pb2_grpc.MixerStub(channel)


def check_request(
    attributes: Attributes, quotas: Mapping[str, int], deduplication_id: str
) -> mixer_pb2.CheckRequest:
    """A call about one request; of quotas, amounts by name, the rest will do (mixer.md I2)."""
    asked = {
        name: mixer_pb2.CheckRequest.QuotaParams(amount=amount, best_effort=True)
        for name, amount in quotas.items()
    }
    return mixer_pb2.CheckRequest(
        attributes=encode(attributes, known=0),
        global_word_count=0,
        deduplication_id=deduplication_id,
        quotas=asked,
    )


def report_request(records: Sequence[Attributes]) -> mixer_pb2.ReportRequest:
    """A report of records that each stand alone and share their words (B1, B2)."""
    numbering = Numbering(known=0)
    messages: list[CompressedAttributes] = [encode_shared(each, numbering) for each in records]
    return mixer_pb2.ReportRequest(
        attributes=messages,
        repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
        default_words=numbering.own,
        global_word_count=0,
    )


_NAMES: Mapping[int, str] = {int(code.value[0]): code.name for code in grpc.StatusCode}


def _duration(message: Any) -> str:
    return str(Duration(message.ToNanoseconds()))


def _references(message: mixer_pb2.ReferencedAttributes) -> list[dict[str, str]]:
    conditions = mixer_pb2.ReferencedAttributes.Condition
    return [
        {"name": name, **({"key": key} if key else {}), "condition": conditions.Name(condition)}
        for name, key, condition in _named(message)
    ]


def _matches(message: mixer_pb2.ReferencedAttributes) -> Iterator[str]:
    """``name::key CONDITION``."""
    conditions = mixer_pb2.ReferencedAttributes.Condition
    for name, key, condition in _named(message):
        yield f"{name}{f'::{key}' if key else ''} {conditions.Name(condition)}"


def _named(message: mixer_pb2.ReferencedAttributes) -> Iterator[tuple[str, str, Any]]:
    """Names and keys in place of their indices."""
    own = message.words

    def word(index: int) -> str:
        return WORDS[index] if index >= 0 else own[-index - 1]

    for each in message.attribute_matches:
        yield word(each.name), word(each.map_key) if each.map_key else "", each.condition


def _directive_lines(directive: Mapping[str, Any]) -> Iterator[str]:
    if directive["directResponseCode"]:
        yield f"  Answer: {directive['directResponseCode']} {directive['directResponseBody']}"
    for side in ("request", "response"):
        for change in directive[f"{side}Headers"]:
            operation = f"{change['operation']} {change['name']} {change['value']}".rstrip()
            yield f"  Header of the {side}: {operation}"


def _directive(directive: mixer_pb2.RouteDirective) -> dict[str, Any]:
    def changes(operations: Sequence[mixer_pb2.HeaderOperation]) -> list[dict[str, str]]:
        names = mixer_pb2.HeaderOperation.Operation
        return [
            {"name": each.name, "value": each.value, "operation": names.Name(each.operation)}
            for each in operations
        ]

    return {
        "directResponseCode": directive.direct_response_code,
        "directResponseBody": directive.direct_response_body,
        "requestHeaders": changes(directive.request_header_operations),
        "responseHeaders": changes(directive.response_header_operations),
    }
