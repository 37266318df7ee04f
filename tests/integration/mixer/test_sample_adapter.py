"""The samples of adapters out of process, run as their README says (mixer.md G.1, G.4)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import grpc
import grpc.aio
import pytest
import yaml
from aiohttp import web
from google.protobuf.json_format import ParseDict

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
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.http_site import http_site
from tests.support.pki import Ca
from tests.support.sample_adapters import MANIFESTS, SAMPLE, output, record, sample_adapter
from tests.support.until import until

ADDRESS = "127.0.0.1:50051"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
URI = "spiffe://cluster.local/ns/istio-system/sa/mixer"


def attributes(customer: str, path: str) -> Attributes:
    headers = {"x-customer": customer} if customer else {}
    return {"context.protocol": "http", "request.headers": headers, "request.path": path}


@pytest.mark.parametrize("secure", [False, True], ids=["plaintext", "mutual"])
async def test_the_sample_decides(
    etcd: EtcdServer, apply: Apply, compiled: Path, tmp_path: Path, secure: bool
) -> None:
    objects = await output(compiled, SAMPLE / "objects.py", "entitlements")
    policy = (SAMPLE / "policy.yaml").read_text()
    judged = judge(read_text(f"{objects}---\n{policy}", "sample", Defaults()))
    assert [str(each) for each in judged.problems] == []
    flags, authentication = _secured(tmp_path) if secure else ([], {})
    async with sample_adapter(compiled, *flags) as address:
        documents = list(yaml.safe_load_all(policy))
        connection = documents[0]["spec"]["connection"]
        assert connection["address"] == ADDRESS
        connection |= {"address": address, "timeout": "30s"}
        connection |= {"authentication": authentication} if secure else {}
        await apply(objects, yaml.safe_dump_all(documents), MANIFESTS)
        async with mixer(etcd.endpoint) as running, client(running) as stub:
            for customer, path, code, message in (
                ("ann", "/details/0", 0, ""),
                ("ann", "/ratings/0", 7, "plan basic of ann has no /ratings/0"),
                ("bob", "/ratings/0", 0, ""),
                ("eve", "/", 7, "eve has no plan"),
                ("", "/", 16, "who are you?"),
            ):
                request = check_request(attributes(customer, path))
                verdict = (await stub.Check(request, timeout=30)).precondition
                whole = f"plans.handler.istio-system:{message}" if message else ""
                assert (verdict.status.code, verdict.status.message) == (code, whole)
                assert verdict.valid_duration.seconds == 60
                assert verdict.valid_use_count == 10_000


class CloudWatch:
    """Takes PutMetricData and PutLogEvents, in the order they came."""

    def __init__(self) -> None:
        self.requests: list[Mapping[str, str]] = []
        self.logs: list[Mapping[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        """Refuse what is not signed by the key of the test."""
        body = await request.read()
        sent = request.headers["authorization"]
        names = re.search(r"SignedHeaders=([^,]+)", sent)
        assert names is not None
        headers = {name: request.headers[name] for name in names[1].split(";")}
        assert {"host", "x-amz-date"} <= set(headers)
        to_logs = request.headers.get("x-amz-target") == "Logs_20140328.PutLogEvents"
        own = credentials("logs" if to_logs else "monitoring")
        if sent != signing().authorization("POST", request.path, headers, body, own):
            return web.Response(status=403)
        if to_logs:
            self.logs.append(json.loads(body))
            return web.json_response({})
        self.requests.append(dict(parse_qsl(body.decode(), strict_parsing=True)))
        return web.Response()


def signing() -> Any:
    """The sample's module, which is in no package."""
    return SimpleNamespace(**run_path(str(SAMPLE / "signing.py"), run_name="signing"))


def credentials(service: str = "monitoring") -> Any:
    return signing().Credentials(KEY, SECRET, "us-east-1", service)


def test_signatures_are_those_that_aws_tells() -> None:
    """The case get-vanilla of AWS' test suite for Signature Version 4."""
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    found = signing().authorization("GET", "/", headers, b"", credentials("service"))
    assert found == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )


async def test_metrics_go_to_cloudwatch_in_twenties(
    etcd: EtcdServer, apply: Apply, compiled: Path
) -> None:
    objects = await output(compiled, SAMPLE / "objects.py", "cloudwatch")
    policy = (SAMPLE / "cloudwatch.yaml").read_text()
    judged = judge(read_text(f"{objects}---\n{policy}", "sample", Defaults()))
    assert [str(each) for each in judged.problems] == []
    site, sink = web.Application(), CloudWatch()
    site.router.add_post("/", sink.take)
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    async with http_site(site) as port:
        flags = ("--region", "us-east-1", "--endpoint", f"http://127.0.0.1:{port}/")
        async with sample_adapter(compiled, *flags, program="cloudwatch.py", **keys) as address:
            documents = list(yaml.safe_load_all(policy))
            documents[0]["spec"]["connection"] = {"address": address, "timeout": "30s"}
            await apply(objects, yaml.safe_dump_all(documents), MANIFESTS)
            async with mixer(etcd.endpoint) as running, client(running) as stub:
                records = [encode(logged(code), len(WORDS)) for code in range(200, 225)]
                request = mixer_pb2.ReportRequest(
                    attributes=records,
                    repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
                    global_word_count=len(WORDS),
                )
                await stub.Report(request, timeout=30)
                await until(lambda: len(_data(sink)) >= 50 and len(_events(sink)) >= 25)
    assert {(each["logGroupName"], each["logStreamName"]) for each in sink.logs} == {
        ("mesh", "requests")
    }
    told = {(each["timestamp"], each["message"]) for each in _events(sink)}
    assert told == {(1_580_464_800_000, f"- GET /x {code}") for code in range(200, 225)}
    data = _data(sink)
    assert len(data) == 50
    assert all(len(_members(each)) <= 20 for each in sink.requests)
    assert max(len(_members(each)) for each in sink.requests) == 20
    assert {each["Namespace"] for each in sink.requests} == {"mesh"}
    for name, unit, value in (
        ("calls.instance.istio-system", "Count", 1.0),
        ("calltime.instance.istio-system", "Milliseconds", 1500.0),
    ):
        found = [each for each in data if each["MetricName"] == name]
        assert {(each["Unit"], float(each["Value"])) for each in found} == {(unit, value)}
        codes = {each["Dimensions.member.1.Value"] for each in found}
        assert codes == {str(code) for code in range(200, 225)}
        assert {each["Dimensions.member.1.Name"] for each in found} == {"code"}
        assert {each["Dimensions.member.2.Value"] for each in found} == {"web"}


def logged(code: int) -> Attributes:
    at = Timestamp(1_580_464_800 * NANOS)
    return {**record(code), "request.method": "GET", "request.path": "/x", "request.time": at}


def _events(sink: CloudWatch) -> list[Mapping[str, Any]]:
    return [each for log in sink.logs for each in log["logEvents"]]


async def test_what_is_no_metric_of_cloudwatch_is_refused(compiled: Path) -> None:
    objects = await output(compiled, SAMPLE / "objects.py", "cloudwatch")
    config = list(yaml.safe_load_all(objects))[-1]["spec"]["config"]
    params = params_message(config)
    assert params is not None
    good = {"namespace": "mesh", "metricInfo": {"calls": {"unit": "Count"}}}
    number, length = {"int64Value": "1"}, {"durationValue": {"value": "1s"}}
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    async with (
        sample_adapter(compiled, program="cloudwatch.py", **keys) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = metric_grpc.HandleMetricServiceStub(channel)
        for given, name, value, text in (
            ({}, "calls", number, "namespace: must not be empty"),
            (good, "other", number, "metricInfo: no other"),
            (good, "calls", length, "metricInfo[calls].unit: Count is no unit of time"),
            (good, "calls", {"stringValue": "x"}, "calls: its value is no number"),
        ):
            request = metric_service.HandleMetricRequest()
            ParseDict({"instances": [{"name": name, "value": value}]}, request)
            request.adapter_config.Pack(ParseDict(given, params()))
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub.HandleMetric(request, timeout=30)
            assert told.value.details() == text
            assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def _members(form: Mapping[str, str]) -> list[dict[str, str]]:
    """The data of a request."""
    found: dict[str, dict[str, str]] = {}
    for key, value in form.items():
        if key.startswith("MetricData.member."):
            number, name = key.removeprefix("MetricData.member.").split(".", 1)
            found.setdefault(number, {})[name] = value
    return list(found.values())


def _data(sink: CloudWatch) -> list[dict[str, str]]:
    return [each for form in sink.requests for each in _members(form)]


def _secured(directory: Path) -> tuple[list[object], dict[str, object]]:
    """Flags of the adapter, and how Mixer connects to it."""
    ca = Ca.root()
    authorities = directory / "ca.pem"
    authorities.write_bytes(ca.pem)
    files: dict[str, tuple[Path, Path]] = {}
    for name in ("server", "client"):
        pair = ca.leaf(uris=[URI])
        files[name] = directory / f"{name}.pem", directory / f"{name}.key"
        files[name][0].write_bytes(pair.chain)
        files[name][1].write_bytes(pair.key)
    certificate, key = files["server"]
    flags = ["--certificate", certificate, "--key", key, "--authorities", authorities]
    mutual = {
        "privateKey": str(files["client"][1]),
        "clientCertificate": str(files["client"][0]),
        "caCertificates": str(authorities),
    }
    return flags, {"mutual": mutual}
