"""The sample for Google Cloud, with a site that takes what Google takes (mixer.md G.1, G.4)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.protobuf.json_format import ParseDict

from istio.mixer.template.logentry import template_handler_service_pb2 as logentry_service
from istio.mixer.template.logentry import template_handler_service_pb2_grpc as logentry_grpc
from istio.mixer.template.metric import template_handler_service_pb2 as metric_service
from istio.mixer.template.metric import template_handler_service_pb2_grpc as metric_grpc
from istio.mixer.v1 import mixer_pb2
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.dynamic import params_message
from mast.mixer.core.values import NANOS, Attributes, Timestamp
from mast.mixer.core.wire import encode
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.http_site import http_site
from tests.support.sample_adapters import MANIFESTS, SAMPLE, output, record, sample_adapter
from tests.support.until import until

PROJECT, SPANNED = "/v2/projects/my-project", "0af7651916cd43dd8448eb211c80319c"


class Google:
    """Takes what Google Cloud takes, from whoever has its token."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.taken: dict[str, list[Any]] = {}
        self.accounts: list[str] = []

    def key_file(self, directory: Path, port: int) -> Path:
        """The key of a service account."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        account = {
            "client_email": "mixer@my-project",
            "private_key": pem.decode(),
            "token_uri": f"http://127.0.0.1:{port}/token",
        }
        file = directory / "account.json"
        file.write_text(json.dumps(account))
        return file

    def site(self) -> web.Application:
        found = web.Application()
        found.router.add_post("/token", self.token)
        metadata = "/computeMetadata/v1/instance/service-accounts/default/token"
        found.router.add_get(metadata, self.own_token)
        found.router.add_post("/{path:v[23]/.*}", self.take)
        return found

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        said, _, signature = str(form["assertion"]).rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        self.key.public_key().verify(raw, said.encode(), padding.PKCS1v15(), hashes.SHA256())
        claims = json.loads(base64.urlsafe_b64decode(said.partition(".")[2] + "=="))
        self.accounts.append(claims["iss"])
        return web.json_response({"access_token": "good", "expires_in": 3600})

    async def own_token(self, request: web.Request) -> web.Response:
        assert request.headers["metadata-flavor"] == "Google"
        self.accounts.append("machine")
        return web.json_response({"access_token": "good", "expires_in": 3600})

    async def take(self, request: web.Request) -> web.Response:
        if request.headers["authorization"] != "Bearer good":
            return web.Response(status=401)
        (items,) = (await request.json()).values()
        self.taken.setdefault(f"/{request.match_info['path']}", []).extend(items)
        return web.json_response({})

    def series(self, type: str) -> list[Any]:
        found = self.taken.get("/v3/projects/my-project/timeSeries", [])
        return [each for each in found if each["metric"]["type"].endswith(type)]


async def test_telemetry_goes_to_google_cloud(
    etcd: EtcdServer, apply: Apply, compiled: Path, tmp_path: Path
) -> None:
    objects = await output(compiled, SAMPLE / "objects.py", "stackdriver")
    policy = (SAMPLE / "stackdriver.yaml").read_text()
    judged = judge(read_text(f"{objects}---\n{policy}", "sample", Defaults()))
    assert [str(each) for each in judged.problems] == []
    google = Google()
    async with http_site(google.site()) as port:
        flags = ("--endpoint", f"http://127.0.0.1:{port}", "--push-seconds", "0.2")
        key = ("--key", google.key_file(tmp_path, port))
        async with sample_adapter(compiled, *flags, *key, program="stackdriver.py") as address:
            documents = list(yaml.safe_load_all(policy))
            documents[0]["spec"]["connection"] = {"address": address, "timeout": "30s"}
            await apply(objects, yaml.safe_dump_all(documents), MANIFESTS)
            async with mixer(etcd.endpoint) as running, client(running) as stub:
                for codes in ((200, 200), (404,)):
                    request = mixer_pb2.ReportRequest(
                        attributes=[encode(traced(code), len(WORDS)) for code in codes],
                        repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
                        global_word_count=len(WORDS),
                    )
                    await stub.Report(request, timeout=30)
                await until(lambda: len(google.taken.get(f"{PROJECT}/traces:batchWrite", ())) == 3)
                await until(lambda: _counted(google) == {"200": "2", "404": "1"})
    assert google.accounts == ["mixer@my-project"]
    latency = google.series("latencies")[-1]["points"][0]["value"]["distributionValue"]
    assert (latency["count"], latency["mean"]) == ("3", 1500.0)
    assert latency["bucketCounts"] == ["0"] * 7 + ["3", "0"]
    assert len(latency["bucketOptions"]["explicitBuckets"]["bounds"]) == 8
    entries = google.taken["/v2/entries:write"]
    assert sorted(each["httpRequest"]["status"] for each in entries) == [200, 200, 404]
    (missed,) = [each for each in entries if each["httpRequest"]["status"] == 404]
    assert missed == {
        "logName": "projects/my-project/logs/gcplog.instance.istio-system",
        "resource": {"type": "global", "labels": {}},
        "severity": "INFO",
        "timestamp": "2020-01-31T10:00:00Z",
        "labels": {"destination": "web"},
        "textPayload": "- GET /x 404",
        "httpRequest": {
            "status": 404,
            "latency": "1.500s",
            "remoteIp": "10.0.0.9",
            "requestMethod": "GET",
            "requestUrl": "/x",
        },
    }
    span = google.taken[f"{PROJECT}/traces:batchWrite"][0]
    assert span["name"] == f"projects/my-project/traces/{SPANNED}/spans/b7ad6b7169203331"
    assert (span["spanKind"], span["displayName"]["value"]) == ("SERVER", "web")
    assert (span["startTime"], span["endTime"]) == ("2020-01-31T10:00:00Z", "2020-01-31T10:00:02Z")


def _counted(google: Google) -> dict[str, str]:
    """The last point of each series of requests."""
    return {
        each["metric"]["labels"]["code"]: each["points"][0]["value"]["int64Value"]
        for each in google.series("requests")
    }


def traced(code: int) -> Attributes:
    at = 1_580_464_800
    ids = {"x-b3-traceid": SPANNED, "x-b3-spanid": "b7ad6b7169203331"}
    return {
        **record(code),
        "origin.ip": b"\x0a\0\0\x09",
        "request.headers": ids,
        "request.method": "GET",
        "request.path": "/x",
        "request.time": Timestamp(at * NANOS),
        "response.time": Timestamp((at + 2) * NANOS),
    }


LINEAR = {"linearBuckets": {"numFiniteBuckets": 2, "width": 10, "offset": 5}}
GROWING = {"exponentialBuckets": {"numFiniteBuckets": 2, "growthFactor": 10, "scale": 1}}
GOOGLE_METRICS = [
    ({"kind": "GAUGE", "value": "INT64"}, (5, 7), {"int64Value": "7"}),
    ({"kind": "DELTA", "value": "INT64"}, (5, 7), {"int64Value": "12"}),
    ({"kind": "CUMULATIVE", "value": "DOUBLE"}, (5, 7), {"doubleValue": 12.0}),
    (
        {"kind": "DELTA", "value": "DISTRIBUTION", "buckets": LINEAR},
        (5, 7, 15, 99),
        {"bucketCounts": ["0", "2", "1", "1"], "count": "4", "mean": 31.5},
    ),
    (
        {"kind": "DELTA", "value": "DISTRIBUTION", "buckets": GROWING},
        (0, 1, 10, 99),
        {"bucketCounts": ["1", "1", "2", "0"], "count": "4", "mean": 27.5},
    ),
]


async def test_what_google_cloud_is_told_and_what_is_refused(compiled: Path) -> None:
    objects = await output(compiled, SAMPLE / "objects.py", "stackdriver")
    config = list(yaml.safe_load_all(objects))[-1]["spec"]["config"]
    params = params_message(config)
    assert params is not None
    google = Google()
    async with http_site(google.site()) as port:
        place = f"http://127.0.0.1:{port}"
        flags = ("--endpoint", place, "--metadata", place, "--push-seconds", "3600")
        async with (
            sample_adapter(compiled, *flags, program="stackdriver.py") as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            stub = metric_grpc.HandleMetricServiceStub(channel)
            infos = {f"m{at}": info for at, (info, *_) in enumerate(GOOGLE_METRICS)}
            values = [
                {"name": f"m{at}", "value": {"int64Value": str(value)}}
                for at, (_, given, _) in enumerate(GOOGLE_METRICS)
                for value in given
            ]
            good = {"projectId": "my-project", "metricInfo": infos}
            await stub.HandleMetric(_metrics(params, good, values), timeout=30)
            one = {"name": "m0", "value": {"int64Value": "1"}}
            bare: dict[str, Any] = {"value": "DISTRIBUTION", "kind": "DELTA"}
            for given, instance, text in (
                ({}, one, "projectId: must not be empty"),
                (good, {**one, "name": "other"}, "metricInfo: no other"),
                (good, {**one, "value": {"stringValue": "x"}}, "m0: its value is no number"),
                ({**good, "metricInfo": {"m0": {}}}, one, "metricInfo[m0]: want kind and value"),
                (
                    {"projectId": "other", "metricInfo": {"m0": bare}},
                    one,
                    "metricInfo: a DISTRIBUTION needs buckets",
                ),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await stub.HandleMetric(_metrics(params, given, [instance]), timeout=30)
                assert told.value.details() == text
            logs = logentry_grpc.HandleLogEntryServiceStub(channel)
            template = {
                "projectId": "p",
                "logInfo": {"l": {"payloadTemplate": "{{if .a}}x{{end}}"}},
            }
            asked = logentry_service.HandleLogEntryRequest()
            ParseDict({"instances": [{"name": "l", "severity": "odd"}]}, asked)
            asked.adapter_config.Pack(ParseDict(template, params()))
            with pytest.raises(grpc.aio.AioRpcError, match="only fields are allowed"):
                await logs.HandleLogEntry(asked, timeout=30)
            asked.adapter_config.Pack(ParseDict({"projectId": "my-project"}, params()))
            await logs.HandleLogEntry(asked, timeout=30)
    assert google.accounts == ["machine"]
    (entry,) = google.taken["/v2/entries:write"]
    assert (entry["severity"], entry["jsonPayload"]) == ("DEFAULT", {})
    for at, (_, _, value) in enumerate(GOOGLE_METRICS):
        (series,) = google.series(f"/m{at}")
        assert series["metric"]["type"] == f"custom.googleapis.com/m{at}"
        (point,) = series["points"]
        found = point["value"].get("distributionValue", point["value"])
        assert {name: found[name] for name in value} == value
        assert ("startTime" in point["interval"]) == (series["metricKind"] != "GAUGE")


def _metrics(params: Any, given: Mapping[str, Any], instances: list[Any]) -> Any:
    request = metric_service.HandleMetricRequest()
    ParseDict({"instances": instances}, request)
    request.adapter_config.Pack(ParseDict(given, params()))
    return request
