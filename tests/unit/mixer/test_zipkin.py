"""Adapter zipkin (mixer.md G.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from istio.mixer.adapter.zipkin.config.config_pb2 import Params
from mast.mixer.adapters import zipkin
from mast.mixer.core.adapter import Batch, HandlerConfig, Instance
from mast.mixer.core.values import Timestamp

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
FIELDS: dict[str, Any] = {
    "trace_id": TRACE,
    "span_id": SPAN,
    "parent_span_id": PARENT,
    "span_name": "reviews:9080/*",
    "start_time": Timestamp(1_580_464_800_000_001_500),
    "end_time": Timestamp(1_580_464_800_250_001_500),
    "span_tags": {"b": 5, "a": "x"},
    "httpStatusCode": 404,
    "client_span": False,
    "rewrite_client_span_id": False,
    "source_name": "productpage",
    "source_ip": b"\x0a\0\0\x01",
    "destination_name": "reviews",
    "destination_ip": bytes(15) + b"\x01",
    "request_size": 10,
    "request_total_size": 100,
    "response_size": 0,
    "response_total_size": 300,
}
SERVER = {
    "traceId": TRACE,
    "id": SPAN,
    "parentId": PARENT,
    "name": "reviews:9080/*",
    "kind": "SERVER",
    "timestamp": 1_580_464_800_000_001,
    "duration": 250_000,
    "localEndpoint": {"serviceName": "reviews", "ipv6": "::1"},
    "remoteEndpoint": {"serviceName": "productpage", "ipv4": "10.0.0.1"},
    "tags": {
        "a": "x",
        "b": "5",
        "http.status_code": "404",
        "request.size": "10",
        "request.total_size": "100",
        "response.total_size": "300",
    },
}


def test_span_of_a_server() -> None:
    assert zipkin.span(FIELDS) == SERVER


def test_span_of_a_client() -> None:
    found = zipkin.span({**FIELDS, "client_span": True})
    assert found is not None
    assert found["kind"] == "CLIENT"
    assert found["localEndpoint"] == SERVER["remoteEndpoint"]
    assert found["id"] == SPAN


def test_rewritten_ids_join_client_and_server() -> None:
    """One id for both sides: the client gets another, which is the server's parent."""
    rewritten = {**FIELDS, "rewrite_client_span_id": True}
    server = zipkin.span(rewritten)
    client = zipkin.span({**rewritten, "client_span": True})
    assert server is not None
    assert client is not None
    assert server["id"] == SPAN
    assert client["id"] == server["parentId"] == f"{int(SPAN, 16) ^ 0x3F6A2EC3C810C2AB:016x}"
    assert client["parentId"] == PARENT


@pytest.mark.parametrize(
    "fields",
    [
        {"trace_id": ""},
        {"trace_id": "0" * 32},
        {"trace_id": "xyz"},
        {"trace_id": TRACE + "0"},
        {"span_id": ""},
        {"span_id": "0" * 16},
        {"span_id": SPAN[1:]},
    ],
)
def test_spans_without_ids_are_left_out(fields: dict[str, Any]) -> None:
    assert zipkin.span({**FIELDS, **fields}) is None


@pytest.mark.parametrize("parent", ["", "0" * 16, "none"])
def test_a_root_has_no_parent(parent: str) -> None:
    found = zipkin.span({**FIELDS, "parent_span_id": parent})
    assert found is not None
    assert "parentId" not in found


def test_what_is_unknown_is_left_out() -> None:
    unknown = {"start_time": None, "source_name": "", "source_ip": None, "httpStatusCode": 0}
    found = zipkin.span({**FIELDS, **unknown})
    assert found is not None
    assert {"timestamp", "duration", "remoteEndpoint"}.isdisjoint(found)
    assert "http.status_code" not in found["tags"]


class Collector:
    """Takes what is posted, or fails."""

    def __init__(self, failures: int = 0) -> None:
        self.posted: list[tuple[str, list[dict[str, Any]], str]] = []
        self._failures = failures

    async def post(self, url: str, body: bytes, content_type: str) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError("503")
        self.posted.append((url, json.loads(body), content_type))


def batch(**fields: Any) -> Batch:
    return Batch(Instance("span.instance.istio-system", "tracespan", {**FIELDS, **fields}))


async def posted(share: float, *batches: Batch) -> Collector:
    collector = Collector()
    params = Params(url="http://zipkin:9411/api/v2/spans", sample_probability=share)
    handler: Any = zipkin.adapter(collector.post).build(HandlerConfig("h", "zipkin", params))
    assert handler.report(batches) == ()
    await handler.close()
    return collector


async def test_spans_are_posted_together() -> None:
    collector = await posted(1, batch(), batch(client_span=True), batch(span_id=""))
    ((url, spans, content_type),) = collector.posted
    assert (url, content_type) == ("http://zipkin:9411/api/v2/spans", "application/json")
    assert [each["kind"] for each in spans] == ["SERVER", "CLIENT"]


@pytest.mark.parametrize(
    ("share", "low", "sent"),
    [
        (0.0, "0000000000000001", False),
        (0.5, "7fffffffffffffff", True),
        (0.5, "8000000000000000", False),
        (1.0, "ffffffffffffffff", True),
    ],
)
async def test_traces_are_sampled_whole(share: float, low: str, sent: bool) -> None:
    collector = await posted(share, batch(trace_id=TRACE[:16] + low))
    assert bool(collector.posted) is sent


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"url": "zipkin:9411"}, "url: 'zipkin:9411' is not http(s)://HOST[:PORT]/PATH"),
        ({"url": "http://z/", "sample_probability": 2}, "sample_probability: 2 is not between"),
    ],
)
def test_problems(params: dict[str, Any], problem: str) -> None:
    config = HandlerConfig("h", "zipkin", Params(**params))
    (found,) = zipkin.adapter(Collector().post).validate(config)
    assert problem in found
