"""Check and Report calls to a running Mixer, and what its answers say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio

from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from istio.mixer.v1.attributes_pb2 import CompressedAttributes
from mast.cli.errors import CommandError
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.values import Attributes, Duration
from mast.mixer.core.wire import Numbering, encode, encode_shared

CALL_SECONDS = 10
_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One Check: the verdict, and how long the call took."""

    response: mixer_pb2.CheckResponse
    took: timedelta

    @property
    def status(self) -> str:
        """Name of the status code, and its message."""
        status = self.response.precondition.status
        code = _NAMES.get(status.code, str(status.code))
        return f"{code}: {status.message}" if status.message else code

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
        """For people."""
        document = self.document()
        milliseconds = self.took / timedelta(milliseconds=1)
        yield f"Check: {self.status} ({milliseconds:.1f} ms)"
        yield (
            f"  valid for {document['validDuration']} and {document['validUseCount']} uses of "
            "equal requests"
        )
        yield f"  depends on: {', '.join(document['referencedAttributes']) or 'nothing'}"
        directive = document.get("routeDirective", {})
        if directive.get("directResponseCode"):
            yield f"  answer: {directive['directResponseCode']} {directive['directResponseBody']}"
        for side in ("requestHeaders", "responseHeaders"):
            for change in directive.get(side, ()):
                yield f"  {side}: {change['operation']} {change['name']} {change['value']}".rstrip()
        for name, quota in document["quotas"].items():
            yield (
                f"  quota {name}: {quota['grantedAmount']} granted for {quota['validDuration']}, "
                f"depends on: {', '.join(quota['referencedAttributes']) or 'nothing'}"
            )


@asynccontextmanager
async def mixer(address: str) -> AsyncIterator[mixer_pb2_grpc.MixerStub]:
    """Mixer's API in plain text; CommandError if it does not answer or refuses."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            yield mixer_pb2_grpc.MixerStub(channel)
        except grpc.aio.AioRpcError as error:
            hint = "name its plaintext address with --mixer HOST:PORT (port 9091)"
            if error.code() not in _UNREACHABLE:
                raise CommandError(f"{error.code().name}: {error.details()}") from error
            raise CommandError(
                f"mixer at {address} does not answer: {error.details()}", hint=hint
            ) from error


def check_request(
    attributes: Attributes, quotas: Mapping[str, int], *, best_effort: bool, deduplication_id: str
) -> mixer_pb2.CheckRequest:
    """A call about one request; ``quotas`` are amounts by name."""
    asked = {
        name: mixer_pb2.CheckRequest.QuotaParams(amount=amount, best_effort=best_effort)
        for name, amount in quotas.items()
    }
    return mixer_pb2.CheckRequest(
        attributes=encode(attributes),
        global_word_count=len(WORDS),
        deduplication_id=deduplication_id,
        quotas=asked,
    )


def report_request(records: Sequence[Attributes]) -> mixer_pb2.ReportRequest:
    """A report of records that each stand alone and share their words (B1, B2)."""
    numbering = Numbering()
    messages: list[CompressedAttributes] = [encode_shared(each, numbering) for each in records]
    return mixer_pb2.ReportRequest(
        attributes=messages,
        repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
        default_words=numbering.own,
        global_word_count=len(WORDS),
    )


_NAMES: Mapping[int, str] = {int(code.value[0]): code.name for code in grpc.StatusCode}


def _duration(message: Any) -> str:
    return str(Duration(message.ToNanoseconds()))


def _references(message: mixer_pb2.ReferencedAttributes) -> list[str]:
    """Names, with ``-`` before what was absent and ``[key]`` after a map."""
    own = message.words

    def word(index: int) -> str:
        return WORDS[index] if index >= 0 else own[-index - 1]

    absent = mixer_pb2.ReferencedAttributes.ABSENCE
    return [
        ("-" if each.condition == absent else "")
        + word(each.name)
        + (f"[{word(each.map_key)}]" if each.map_key else "")
        for each in message.attribute_matches
    ]


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
