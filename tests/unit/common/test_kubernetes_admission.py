"""Writes that an API server asks webhooks about ("Dynamic Admission Control"): the fake one's.

Nothing else holds the fake to what the real one does, so its rules are tested here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from mast.common.kubernetes import Api, ApiError, Conflict, Invalid, Patch, Resource, connect
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    NODES,
    PODS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.pki import Ca

pytestmark = pytest.mark.asyncio(loop_scope="module")

Answer = Callable[[Any], Any]
V, M = VALIDATING_WEBHOOK_CONFIGURATIONS, MUTATING_WEBHOOK_CONFIGURATIONS
SERVER = ("shop", "hook", 443)


@dataclass
class Site:
    """An API server, and a webhook whose answers tests give by path."""

    cluster: Cluster
    api: Api
    ca: Ca
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        review = await request.json()
        self.asked.append((request.path_qs, review))
        response = self.answers[request.path.strip("/")](review["request"])
        if isawaitable(response):
            response = await response
        if isinstance(response, web.Response):
            return response
        return web.json_response(
            {**review, "response": {"uid": review["request"]["uid"], **response}}
        )

    def hook(self, kind: Resource, name: str, answer: Answer, **changes: Any) -> None:
        """A webhook of its own configuration."""
        self.answers[name] = answer
        entry = {
            "name": f"{name}.example.com",
            "clientConfig": {
                "service": {"name": "hook", "namespace": "shop", "path": f"/{name}"},
                "caBundle": base64.b64encode(self.ca.pem).decode(),
            },
            "rules": [
                {
                    "operations": ["*"],
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["configmaps"],
                }
            ],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **changes,
        }
        self.cluster.objects.create(kind, "", {"metadata": {"name": name}, "webhooks": [entry]})

    async def create(self, name: str = "a", **content: Any) -> Any:
        body = {"metadata": {"name": name, "namespace": "shop"}, **content}
        return await self.api.create(CONFIG_MAPS, body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    ca = Ca.root("hooks")
    async with api_server() as cluster, connect(cluster.access()) as api:
        site = Site(cluster, api, ca)
        application = web.Application()
        application.router.add_post("/{name}", site.answer)
        async with serving(application, ca) as port:
            cluster.admission.services[SERVER] = ("127.0.0.1", port)
            cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
            yield site


@asynccontextmanager
async def serving(application: web.Application, ca: Ca) -> AsyncIterator[int]:
    pair = ca.leaf(dns=["hook.shop.svc"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.key + pair.chain)
        file.flush()
        context.load_cert_chain(file.name)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
def site(running: Site) -> Site:
    """Without the webhooks and objects of the test before."""
    objects = running.cluster.objects
    for key in [key for key in objects.stored if key[0] in (V, M, CONFIG_MAPS)]:
        objects.delete(*key)
    running.answers.clear()
    running.asked.clear()
    running.cluster.admission.calls.clear()
    running.cluster.admission.ignored.clear()
    return running


def allow(_: Any) -> Any:
    return {"allowed": True}


def deny(_: Any) -> Any:
    return {"allowed": False, "status": {"message": "no", "code": 299}}


def add(key: str) -> Answer:
    """Adds to the data what is there already, in order."""

    def answer(request: Any) -> Any:
        value = "".join(sorted(request["object"].get("data", {})))
        steps = [{"op": "add", "path": f"/data/{key}", "value": value}]
        patch = base64.b64encode(json.dumps(steps).encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": patch}

    return answer


async def test_a_denial_keeps_the_object_out(site: Site) -> None:
    site.hook(V, "v", deny)
    with pytest.raises(ApiError) as refused:
        await site.create()
    assert refused.value.status == 400
    assert refused.value.message == 'admission webhook "v.example.com" denied the request: no'
    ((path, review),) = site.asked
    assert path == "/v?timeout=10s"
    request = review["request"]
    assert (review["apiVersion"], request["operation"]) == ("admission.k8s.io/v1", "CREATE")
    assert (request["namespace"], request["name"], request["oldObject"]) == ("shop", "a", None)
    assert request["object"]["metadata"]["uid"]
    assert request["userInfo"]["username"] == "kubernetes-admin"
    assert request["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (await site.api.list(CONFIG_MAPS, "shop")).objects == ()


async def test_webhooks_change_in_order_and_the_last_word_is_validated(site: Site) -> None:
    """Reinvoked is who wants it and was followed by a change."""
    site.hook(M, "a", add("a"), reinvocationPolicy="IfNeeded")
    site.hook(M, "b", add("b"))
    site.hook(V, "v", allow)
    made = await site.create(data={"x": "0"})
    assert made["data"] == {"x": "0", "a": "abx", "b": "ax"}
    calls = [call.partition(".")[0] for call in site.cluster.admission.calls]
    assert calls == ["a", "b", "a", "v"]
    assert site.asked[-1][1]["request"]["object"]["data"] == made["data"]


async def never(_: Any) -> Any:
    await asyncio.Event().wait()


SERVICE = {"name": "hook", "namespace": "shop", "path": "/v"}
FAILURES = [
    pytest.param({"clientConfig": {"url": "https://127.0.0.1:1/v"}}, allow, "127.0.0.1", id="away"),
    pytest.param(
        {"clientConfig": {"service": {**SERVICE, "name": "x"}}},
        allow,
        'service "x" not found',
        id="no-service",
    ),
    pytest.param({"clientConfig": {"service": SERVICE}}, allow, "certificate", id="no-bundle"),
    pytest.param({"timeoutSeconds": 1}, never, "deadline exceeded", id="slow"),
    pytest.param({}, lambda _: web.Response(status=503), "server \\(503\\)", id="status"),
    pytest.param({}, lambda _: web.Response(text="x"), "Expecting value", id="no-json"),
    pytest.param({}, lambda _: web.json_response({}), "expected webhook response", id="no-review"),
    pytest.param({}, lambda _: {"uid": "x", "allowed": True}, "response.uid", id="another-uid"),
    pytest.param({}, lambda _: {}, "response.allowed", id="no-verdict"),
    pytest.param({}, lambda _: {"allowed": True, "patch": "W10="}, "patchType", id="patch-type"),
]


@pytest.mark.parametrize(("changes", "answer", "reason"), FAILURES)
async def test_a_call_that_fails_fails_the_write(
    site: Site, changes: Any, answer: Answer, reason: str
) -> None:
    site.hook(V, "v", answer, **changes)
    with pytest.raises(
        ApiError, match=f'failed calling webhook "v.example.com".*{reason}'
    ) as error:
        await site.create()
    assert (error.value.status, error.value.reason) == (500, "InternalError")


async def test_a_call_that_fails_may_not_matter(site: Site) -> None:
    site.hook(M, "m", deny, failurePolicy="Ignore", clientConfig={"url": "https://127.0.0.1:1/"})
    site.hook(V, "v", lambda _: {}, failurePolicy="Ignore")
    await site.create()
    assert [each.partition(".")[0] for each in site.cluster.admission.ignored] == ["m", "v"]


async def test_dry_runs_do_everything_but_store(site: Site) -> None:
    body = {"metadata": {"name": "a", "namespace": "shop"}, "data": {}}
    site.hook(M, "m", add("m"))
    made = await site.api.create(CONFIG_MAPS, body, dry_run=True)
    assert (made["data"], site.asked[0][1]["request"]["dryRun"]) == ({"m": ""}, True)
    assert (await site.api.list(CONFIG_MAPS, "shop")).objects == ()
    site.hook(V, "v", deny)
    with pytest.raises(ApiError, match="denied the request"):
        await site.api.create(CONFIG_MAPS, body, dry_run=True)
    site.cluster.objects.stored[V, "", "v"]["webhooks"][0]["sideEffects"] = "Unknown"
    with pytest.raises(Invalid, match=r'"v\.example\.com" does not support dry run'):
        await site.api.create(CONFIG_MAPS, body, dry_run=True)


IN = {"key": "app", "operator": "In", "values": ["a"]}


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        pytest.param({}, 1, id="rule"),
        pytest.param({"objectSelector": {"matchLabels": {"app": "a"}}}, 1, id="object"),
        pytest.param({"objectSelector": {"matchLabels": {"app": "b"}}}, 0, id="another-object"),
        pytest.param({"objectSelector": {"matchExpressions": [IN]}}, 1, id="in"),
        pytest.param(
            {"objectSelector": {"matchExpressions": [{**IN, "operator": "NotIn"}]}}, 0, id="not-in"
        ),
        pytest.param(
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}},
            1,
            id="namespace",
        ),
        pytest.param(
            {"namespaceSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}},
            0,
            id="another-namespace",
        ),
    ],
)
async def test_who_is_asked(site: Site, changes: Any, calls: int) -> None:
    site.hook(V, "v", allow, **changes)
    await site.api.create(
        CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "shop", "labels": {"app": "a"}}}
    )
    assert len(site.asked) == calls


@pytest.mark.parametrize(
    ("rule", "calls"),
    [
        pytest.param({"resources": ["pods"], "operations": ["UPDATE"]}, ["UPDATE"], id="object"),
        pytest.param({"resources": ["pods/*"]}, ["UPDATE"], id="subresources"),
        pytest.param({"resources": ["*/*"]}, ["CREATE", "UPDATE", "UPDATE", "DELETE"], id="all"),
        pytest.param({"resources": ["*"]}, ["CREATE", "UPDATE", "DELETE"], id="plain"),
        pytest.param({"resources": ["*/*"], "scope": "Cluster"}, [], id="scope"),
        pytest.param({"resources": ["*/*"], "apiVersions": ["v2"]}, [], id="version"),
        pytest.param({"resources": ["*/*"], "apiGroups": ["x.io"]}, [], id="group"),
    ],
)
async def test_rules(site: Site, rule: Any, calls: list[str]) -> None:
    rules = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "scope": "*", **rule}
    site.hook(V, "v", allow, rules=[rules])
    made = await site.api.create(PODS, {"metadata": {"name": "p", "namespace": "shop"}, "spec": {}})
    await site.api.update(PODS, {**made, "status": {"phase": "Running"}}, subresource="status")
    await site.api.patch(PODS, "p", {"spec": {"x": 1}}, "shop")
    await site.api.delete(PODS, "p", "shop")
    assert [review["request"]["operation"] for _, review in site.asked] == calls


async def test_another_version_of_a_kind_is_converted_for_the_webhook(site: Site) -> None:
    old, new = (Resource("x.io", v, "things", "Thing", namespaced=False) for v in ("v1", "v2"))
    for resource in (old, new):
        site.cluster.objects.serve(resource)
    rule = {"operations": ["*"], "apiGroups": ["x.io"], "apiVersions": ["v2"], "resources": ["*"]}
    site.hook(V, "equivalent", allow, rules=[rule])
    site.hook(V, "exact", allow, rules=[rule], matchPolicy="Exact")
    await site.api.create(old, {"metadata": {"name": "a"}}, dry_run=True)
    ((path, review),) = site.asked
    assert path.startswith("/equivalent?")
    assert review["request"]["object"]["apiVersion"] == "x.io/v2"
    assert review["request"]["requestKind"]["version"] == "v1"


async def test_nobody_locks_himself_out(site: Site) -> None:
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    site.hook(V, "v", deny, rules=[rule])
    with pytest.raises(ApiError, match="denied"):
        await site.api.create(NODES, {"metadata": {"name": "n"}})
    await site.api.delete(V, "v")


async def test_warnings_reach_the_writer(site: Site) -> None:
    site.hook(V, "v", lambda _: {"allowed": True, "warnings": ['a "b"', 'a "b"', "x\n"]})
    body = {"metadata": {"name": "a", "namespace": "shop"}}
    url = f"{site.cluster.url}/api/v1/namespaces/shop/configmaps"
    context = ssl.create_default_context(cadata=site.cluster.authority.pem.decode())
    headers = {"Authorization": "Bearer admin-token"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers=headers, ssl=context) as answer,
    ):
        assert answer.headers.getall("Warning") == ['299 - "a \\"b\\""']


async def test_a_write_meanwhile_is_a_conflict_for_those_who_name_a_version(site: Site) -> None:
    """Others change what was written meanwhile."""
    made = await site.create(data={"x": "0"})

    def meddle(request: Any) -> Any:
        data = site.cluster.objects.get(CONFIG_MAPS, "shop", "a")["data"]
        if "y" not in data:
            change = {"data": {"y": "1"}}
            site.cluster.objects.patch(
                CONFIG_MAPS, "shop", "a", change, "application/merge-patch+json"
            )
        return {"allowed": True}

    site.hook(V, "v", meddle)
    with pytest.raises(Conflict):
        await site.api.update(CONFIG_MAPS, {**made, "data": {"x": "2"}})
    site.cluster.objects.patch(
        CONFIG_MAPS, "shop", "a", {"data": {"y": None}}, "application/merge-patch+json"
    )
    patched = await site.api.patch(CONFIG_MAPS, "a", {"data": {"x": "3"}}, "shop")
    assert patched["data"] == {"x": "3", "y": "1"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "short"),
        ("sideEffects", "Some"),
        ("timeoutSeconds", 31),
        ("failurePolicy", "Perhaps"),
        ("admissionReviewVersions", ["v9"]),
        ("clientConfig", {"url": "https://a", "service": SERVICE}),
        ("clientConfig", {"url": "https://a", "caBundle": "?"}),
    ],
)
async def test_configurations_that_are_no_good(site: Site, field: str, value: Any) -> None:
    site.hook(V, "v", allow)
    change = {"webhooks": [{"name": "v.example.com", field: value}]}
    if field == "name":
        change = {"webhooks": [{"name": value}]}
    with pytest.raises(Invalid, match="webhooks"):
        await site.api.patch(V, "v", change, how=Patch.STRATEGIC)


async def test_strategic_patches_merge_webhooks_by_name(site: Site) -> None:
    site.hook(V, "v", allow)
    bundle = {"name": "v.example.com", "clientConfig": {"caBundle": "QQ=="}}
    found = await site.api.patch(V, "v", {"webhooks": [bundle]}, how=Patch.STRATEGIC)
    (webhook,) = found["webhooks"]
    assert webhook["clientConfig"]["service"]["name"] == "hook"
    assert webhook["clientConfig"]["caBundle"] == "QQ=="
    gone = [{"name": "v.example.com", "$patch": "delete"}]
    found = await site.api.patch(V, "v", {"webhooks": gone}, how=Patch.STRATEGIC)
    assert found["webhooks"] == []
    with pytest.raises(Invalid, match="merge key"):
        await site.api.patch(V, "v", {"webhooks": [{"x": 1}]}, how=Patch.STRATEGIC)
    missing = [{"op": "replace", "path": "/nothing/here", "value": 1}]
    with pytest.raises(Invalid, match="does not fit"):
        await site.api.patch(V, "v", missing, how=Patch.JSON)
