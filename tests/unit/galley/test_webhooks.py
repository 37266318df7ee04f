"""The admission webhooks over TLS (galley-and-kubernetes.md A3)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509

from mast.galley.api.webhooks import LONGEST_BODY_BYTES
from tests.support.until import until
from tests.support.webhook_server import SERVER_NAME, RunningWebhooks, key_pair, running_webhooks

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "a", "namespace": "shop"},
    "spec": {"host": "a.com"},
}
JSON = "application/json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def webhooks() -> AsyncIterator[RunningWebhooks]:
    async with running_webhooks() as running:
        yield running


def review(content: Any, version: str = "v1", **more: Any) -> bytes:
    request = {
        "uid": "7",
        "operation": "CREATE",
        "namespace": "shop",
        "resource": {"group": "g", "version": "v", "resource": "r"},
        "object": content,
        **more,
    }
    fields = {"apiVersion": f"admission.k8s.io/{version}", "kind": "AdmissionReview"}
    return json.dumps({**fields, "request": request}).encode()


def trusting(webhooks: RunningWebhooks) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=webhooks.ca.pem.decode())


async def asked(
    webhooks: RunningWebhooks,
    body: Any,
    path: str = "/validate",
    content_type: str = JSON,
    method: str = "POST",
) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method,
            f"https://127.0.0.1:{webhooks.port}{path}?timeout=10s",
            data=body,
            headers={"Content-Type": content_type},
            ssl=trusting(webhooks),
            server_hostname=SERVER_NAME,
        ) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("path", "version"),
    [("/validate", "v1"), ("/admitpilot", "v1beta1"), ("/admitmixer", "v1beta1")],
)
async def test_objects_are_judged(webhooks: RunningWebhooks, path: str, version: str) -> None:
    passed = 'galley_validation_passed{group="networking.istio.io",resource="destinationrules"'
    before = sum(webhooks.counted(passed).values())
    status, text = await asked(webhooks, review(GOOD, version), path, "application/json; a=b")
    assert status == 200
    assert json.loads(text) == {
        "apiVersion": f"admission.k8s.io/{version}",
        "kind": "AdmissionReview",
        "response": {"uid": "7", "allowed": True},
    }
    assert sum(webhooks.counted(passed).values()) == before + 1


async def test_what_is_wrong_is_denied_and_counted(webhooks: RunningWebhooks) -> None:
    _, text = await asked(webhooks, review({**GOOD, "spec": {"host": "a.com", "hots": 1}}))
    response = json.loads(text)["response"]
    assert response["allowed"] is False
    assert response["status"]["message"].startswith(
        "configuration is invalid: DestinationRule shop/a: spec.hots: unknown field 'hots'"
    )
    _, text = await asked(webhooks, review({**GOOD, "kind": "Destination"}))
    assert json.loads(text)["response"]["status"]["message"].startswith("unrecognized type")
    failed = webhooks.counted("galley_validation_failed{")
    rule = 'group="networking.istio.io",reason="unknown-field",resource="destinationrules"'
    assert failed[f'galley_validation_failed{{{rule},version="v1"}}'] == 1
    unknown = 'group="",reason="unknown_type",resource="",version=""'
    assert failed[f"galley_validation_failed{{{unknown}}}"] == 1


def oversized() -> io.BytesIO:
    return io.BytesIO(b" " * (LONGEST_BODY_BYTES + 1))


@pytest.mark.parametrize(
    ("body", "content_type", "status", "text"),
    [
        pytest.param(review(GOOD), "text/plain", 415, "allowed: application/json", id="type"),
        pytest.param(b"", JSON, 400, "the body is no JSON", id="empty"),
        pytest.param(review(GOOD, "v2"), JSON, 400, "apiVersion", id="version"),
        pytest.param(oversized, JSON, 413, "", id="oversized"),
    ],
)
async def test_what_is_no_review_is_no_answer(
    webhooks: RunningWebhooks, body: Any, content_type: str, status: int, text: str
) -> None:
    series = f'galley_validation_http_error{{status="{status}"}}'
    before = webhooks.counted(series).get(series, 0)
    found = await asked(webhooks, body() if callable(body) else body, "/validate", content_type)
    assert found[0] == status
    assert text in found[1]
    assert webhooks.counted(series)[series] == before + 1


async def test_nobody_waits_for_a_body_for_ever() -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with running_webhooks(patience=timedelta(milliseconds=1)) as impatient:
        assert await asked(impatient, stalled()) == (408, "the body did not arrive\n")


POD = {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}


def pod_review(content: Any, namespace: str = "shop") -> bytes:
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return review(content, resource=resource, namespace=namespace)


def patch_of(text: str) -> str:
    return base64.b64decode(json.loads(text)["response"].get("patch", "")).decode()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/inject", ["Kubernetes"]),
        ("/inject/cluster/east", ["east"]),
        ("/inject/net/n1/cluster/east", ["east", "n1"]),
    ],
)
async def test_pods_are_injected(webhooks: RunningWebhooks, path: str, told: list[str]) -> None:
    status, text = await asked(webhooks, pod_review(POD), path)
    assert status == 200
    assert all(f'"value": "{each}"' in patch_of(text) for each in told)


async def test_pods_are_counted_by_what_became_of_them(webhooks: RunningWebhooks) -> None:
    before = webhooks.counted("sidecar_injection_")
    bad = {"metadata": {"annotations": {"sidecar.istio.io/proxyCPU": "lots"}}, **POD}
    assert patch_of((await asked(webhooks, pod_review(POD, "kube-system"), "/inject"))[1]) == ""
    _, text = await asked(webhooks, pod_review(bad), "/inject")
    assert json.loads(text)["response"]["allowed"] is False
    assert (await asked(webhooks, b"{}", "/inject"))[0] == 400
    await asked(webhooks, pod_review(POD), "/inject")
    after = webhooks.counted("sidecar_injection_")
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    counts = {"requests": 4, "success": 1, "failure": 2, "skip": 1}
    assert {name: grown[f"sidecar_injection_{name}_total"] for name in counts} == counts
    assert grown["sidecar_injection_time_seconds_count"] == 3


@pytest.mark.parametrize(
    "path", ["/inject/x", "/inject/zone/a", "/inject/cluster/a/cluster/b", "/inject/net//cluster/b"]
)
async def test_places_that_are_not_known(webhooks: RunningWebhooks, path: str) -> None:
    status, text = await asked(webhooks, pod_review(POD), path)
    assert (status, text) == (404, "allowed: /inject[/cluster/CLUSTER][/net/NETWORK]\n")


async def test_no_pod_goes_without_its_proxy_for_want_of_settings() -> None:
    async with running_webhooks(injection=lambda cluster, network: None) as bare:
        assert (await asked(bare, pod_review(POD), "/inject"))[0] == 503


@pytest.mark.parametrize(("path", "status"), [("/validate", 405), ("/x", 404), ("/ready", 200)])
async def test_other_calls(webhooks: RunningWebhooks, path: str, status: int) -> None:
    assert (await asked(webhooks, None, path, method="GET"))[0] == status


async def test_new_connections_see_a_renewed_certificate(webhooks: RunningWebhooks) -> None:
    async def presented() -> int:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", webhooks.port, ssl=trusting(webhooks), server_hostname=SERVER_NAME
        )
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der).serial_number

    renewed = key_pair(webhooks.ca)
    assert await presented() == webhooks.pair.value.certificate.leaf.serial_number
    webhooks.pair.publish(renewed)

    async def is_presented() -> bool:
        return await presented() == renewed.certificate.leaf.serial_number

    await until(is_presented)
