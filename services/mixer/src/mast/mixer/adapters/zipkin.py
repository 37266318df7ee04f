"""Adapter ``zipkin``: trace spans as Zipkin's JSON, version 2 (mixer.md G.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from istio.mixer.adapter.zipkin.config.config_pb2 import Params
from mast.mixer.adapters.outbox import Outbox
from mast.mixer.core.adapter import Adapter, Batch, HandlerConfig
from mast.mixer.core.values import Timestamp, Value, ip_text, text

Post = Callable[[str, bytes, str], Awaitable[None]]
"""Posts a body of a content type to a URL; OSError unless it is accepted."""

MAX_QUEUED: Final = 16_384
_EVERY: Final = timedelta(seconds=1)
_BATCH: Final = 500
_CLIENT_MASK: Final = 0x3F6A2EC3C810C2AB
"""What a client's span has otherwise than the server's, if both would have one id."""
_TRACE: Final = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN: Final = re.compile(r"[0-9a-f]{16}")
_SIZES: Final = ("request_size", "request_total_size", "response_size", "response_total_size")

Fields = Mapping[str, Any]


class Ids(NamedTuple):
    """Ids of a span in hexadecimal; ``parent`` is "" for a root."""

    trace: str
    span: str
    parent: str


def ids(fields: Fields) -> Ids | None:
    """The ids of a span, rewritten if it asks for that; None without valid ones."""
    trace, own = fields["trace_id"].lower(), fields["span_id"].lower()
    if not (_valid(_TRACE, trace) and _valid(_SPAN, own)):
        return None
    parent = fields["parent_span_id"].lower()
    parent = parent if _valid(_SPAN, parent) else ""
    if fields["rewrite_client_span_id"]:
        if fields["client_span"]:
            own = _masked(own)
        else:
            parent = _masked(own)
    return Ids(trace, own, parent)


def sampled(trace: str, share: float) -> bool:
    """Whether a trace is among that share of all: the same for all its spans, in every replica."""
    return int(trace[-16:], 16) < int(share * (1 << 64))


def span(fields: Fields) -> dict[str, Any] | None:
    """A span as Zipkin has it; None without valid ids of trace and span."""
    own = ids(fields)
    if own is None:
        return None
    client = fields["client_span"]
    found: dict[str, Any] = {"traceId": own.trace, "id": own.span}
    if own.parent:
        found["parentId"] = own.parent
    found["name"] = fields["span_name"]
    found["kind"] = "CLIENT" if client else "SERVER"
    found |= _times(fields["start_time"], fields["end_time"])
    source, destination = _endpoint(fields, "source"), _endpoint(fields, "destination")
    local, remote = (source, destination) if client else (destination, source)
    found |= {"localEndpoint": local} if local else {}
    found |= {"remoteEndpoint": remote} if remote else {}
    found["tags"] = dict(_tags(fields))
    return found


def _valid(form: re.Pattern[str], id: str) -> bool:
    return bool(form.fullmatch(id)) and bool(id.strip("0"))


def _masked(id: str) -> str:
    return f"{int(id, 16) ^ _CLIENT_MASK:016x}"


def _times(start: Timestamp | None, end: Timestamp | None) -> dict[str, int]:
    """Microseconds; Zipkin has no duration below one."""
    found = {} if start is None else {"timestamp": start.ns // 1000}
    if start is not None and end is not None:
        found["duration"] = max((end.ns - start.ns) // 1000, 1)
    return found


def _endpoint(fields: Fields, side: str) -> dict[str, str]:
    found = {"serviceName": fields[f"{side}_name"]} if fields[f"{side}_name"] else {}
    address = fields[f"{side}_ip"]
    if address:
        shown = ip_text(address)
        found["ipv6" if ":" in shown else "ipv4"] = shown
    return found


def _tags(fields: Fields) -> Iterator[tuple[str, str]]:
    spanned: Mapping[str, Value | None] = fields["span_tags"]
    for name, value in sorted(spanned.items()):
        yield name, text(value)
    if fields["httpStatusCode"]:
        yield "http.status_code", str(fields["httpStatusCode"])
    for name in _SIZES:
        if fields[name]:
            yield name.replace("_", ".", 1), str(fields[name])


class Zipkin:
    """The spans of one handler."""

    def __init__(self, params: Params, post: Post) -> None:
        self._url = params.url
        self._share = params.sample_probability
        self._post = post
        self._outbox = Outbox("zipkin", self._send, every=_EVERY, limit=MAX_QUEUED, batch=_BATCH)

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Queue the spans of sampled traces; spans without ids are left out."""
        found = [
            each
            for batch in batches
            for instance in batch.instances()
            if (each := span(instance.fields)) is not None and sampled(each["traceId"], self._share)
        ]
        return self._outbox.put(found)

    async def _send(self, spans: Sequence[dict[str, Any]]) -> None:
        await self._post(self._url, json.dumps(spans).encode(), "application/json")

    async def run(self) -> None:
        """Send what is queued."""
        await self._outbox.run()

    async def close(self) -> None:
        """Send the rest."""
        await self._outbox.close()


def _validate(config: HandlerConfig) -> Sequence[str]:
    problems = []
    at = urlsplit(config.params.url)
    if at.scheme not in {"http", "https"} or not at.hostname:
        problems.append(f"url: {config.params.url!r} is not http(s)://HOST[:PORT]/PATH")
    share = config.params.sample_probability
    if not 0 <= share <= 1:
        problems.append(f"sample_probability: {share:g} is not between 0 and 1")
    return problems


def adapter(post: Post) -> Adapter:
    """The adapter; ``post`` sends to the collector."""

    def build(config: HandlerConfig) -> Zipkin:
        return Zipkin(config.params, post)

    return Adapter(
        name="zipkin",
        templates=frozenset({"tracespan"}),
        defaults=Params(),
        build=build,
        validate=_validate,
    )
