"""What else the fake API server does as the real one: rights, reviews, listings, ends, faults."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio

from mast.common.kubernetes import (
    AlreadyExists,
    Api,
    ApiError,
    ApiFailure,
    Expired,
    Forbidden,
    NotFound,
    Resource,
    Unauthorized,
    Unreachable,
    connect,
    name_of,
)
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    TOKEN_REVIEWS,
)
from tests.fakes.kubernetes import chaos
from tests.fakes.kubernetes.chaos import Delayed, Dropped, Fault, Halved
from tests.fakes.kubernetes.kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CRDS,
    EVENTS,
    ROLE_BINDINGS,
    ROLES,
)
from tests.fakes.kubernetes.objects import Objects
from tests.fakes.kubernetes.patches import APPLY_PATCH, MERGE_PATCH
from tests.fakes.kubernetes.rbac import Asked, allowed
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.fakes.kubernetes.status import Status
from tests.support.watching import watch

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCESS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
READER = "system:serviceaccount:shop:reader"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with api_server() as running:
        for name in ("shop", "other"):
            running.objects.create(NAMESPACES, "", {"metadata": {"name": name}})
        running.objects.create(SERVICE_ACCOUNTS, "shop", {"metadata": {"name": "reader"}})
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    async with connect(cluster.access()) as connected:
        yield connected


def named(name: str, namespace: str = "shop", **content: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, **content}


def grants(objects: Objects) -> None:
    """The reader may read everything on pods of shop, one Secret, and /metrics."""
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "shop"}
    rules = [
        {"apiGroups": [""], "resources": ["pods", "*/status"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]},
    ]
    objects.create(ROLES, "shop", {"metadata": {"name": "reads"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"}
    binding = {"metadata": {"name": "reads"}, "roleRef": role, "subjects": [subject]}
    objects.create(ROLE_BINDINGS, "shop", binding)
    pages = [{"nonResourceURLs": ["/metrics*"], "verbs": ["get"]}]
    objects.create(CLUSTER_ROLES, "", {"metadata": {"name": "system:pages"}, "rules": pages})
    everybody = {
        "metadata": {"name": "pages"},
        "roleRef": {**role, "kind": "ClusterRole", "name": "system:pages"},
        "subjects": [{"kind": "Group", "name": "system:authenticated"}],
    }
    objects.create(CLUSTER_ROLE_BINDINGS, "", everybody)


@pytest.mark.parametrize(
    ("asked", "may"),
    [
        (Asked("get", "", "pods", "shop", "a"), True),
        (Asked("get", "", "pods/status", "shop", "a"), True),
        (Asked("get", "", "pods/log", "shop", "a"), False),
        (Asked("delete", "", "pods", "shop", "a"), False),
        (Asked("list", "", "pods", "other"), False),
        (Asked("list", "", "pods"), False),
        (Asked("get", "apps", "pods", "shop"), False),
        (Asked("get", "", "secrets", "shop", "one"), True),
        (Asked("get", "", "secrets", "shop", "two"), False),
        (Asked("get", path="/metrics/slis"), True),
        (Asked("get", path="/logs"), False),
    ],
    ids=str,
)
async def test_roles(asked: Asked, may: bool) -> None:
    objects = Objects()
    objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
    grants(objects)
    assert allowed(objects, READER, ("system:authenticated",), asked) is may
    assert allowed(objects, "root", ("system:masters",), asked)
    assert not allowed(objects, "nobody", (), asked)


async def test_who_has_no_role_is_told_which_right_is_missing(cluster: Cluster) -> None:
    cluster.callers.by_roles = True
    async with (
        connect(cluster.access(cluster.callers.token("shop", "reader"))) as reader,
        connect(cluster.access("")) as nobody,
        connect(cluster.access()) as admin,
    ):
        with pytest.raises(Forbidden) as refused:
            await reader.list(PODS, "shop")
        assert refused.value.message == (
            f'pods is forbidden: User "{READER}" cannot list resource "pods" in API group "" in'
            ' the namespace "shop"'
        )
        with pytest.raises(Forbidden, match=r'"system:anonymous" cannot list .* cluster scope'):
            await nobody.list(NAMESPACES)
        grants(cluster.objects)
        await reader.list(PODS, "shop")
        about = {"verb": "get", "resource": "secrets", "namespace": "shop"}
        for name, expected in (("one", True), ("two", False)):
            spec = {"user": READER, "resourceAttributes": {**about, "name": name}}
            answer = await admin.create(ACCESS, {"metadata": {}, "spec": spec})
            assert answer["status"]["allowed"] is expected
        with pytest.raises(ApiError, match=r"spec\.user"):
            await admin.create(ACCESS, {"metadata": {}, "spec": {"resourceAttributes": about}})
    cluster.callers.by_roles = False


async def test_tokens_on_request(cluster: Cluster, api: Api) -> None:
    pod = await api.create(PODS, named("bound"))
    bound = {"kind": "Pod", "name": "bound", "uid": pod["metadata"]["uid"]}
    spec = {"audiences": ["istio-ca"], "expirationSeconds": 600, "boundObjectRef": bound}
    made = await api.create(
        SERVICE_ACCOUNTS, named("reader", kind="TokenRequest", spec=spec), subresource="token"
    )
    token = made["status"]["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"], claims["exp"] - claims["iat"]) == (
        READER,
        ["istio-ca"],
        600,
    )

    async def reviewed(token: str, *audiences: str) -> Any:
        spec = {"token": token, "audiences": list(audiences)}
        return (await api.create(TOKEN_REVIEWS, {"metadata": {}, "spec": spec}))["status"]

    known = await reviewed(token, "istio-ca", "else")
    assert (known["audiences"], known["user"]["username"]) == (["istio-ca"], READER)
    assert not (await reviewed(token))["authenticated"]
    await api.delete(PODS, "bound", "shop")
    assert not (await reviewed(token, "istio-ca"))["authenticated"]
    for wrong, words in (
        ({"expirationSeconds": 5}, "10 minutes"),
        ({"boundObjectRef": {**bound, "name": "gone"}}, "not found"),
    ):
        with pytest.raises(ApiError, match=words):
            await api.create(SERVICE_ACCOUNTS, named("reader", spec=wrong), subresource="token")


async def test_tokens_in_secrets(cluster: Cluster, api: Api) -> None:
    metadata = {
        "name": "long-lived",
        "namespace": "shop",
        "annotations": {"kubernetes.io/service-account.name": "reader"},
    }
    kind = "kubernetes.io/service-account-token"
    await api.create(SECRETS, {"metadata": metadata, "type": kind})
    data = (await api.get(SECRETS, "long-lived", "shop"))["data"]
    assert base64.b64decode(data["ca.crt"]) == cluster.authority.pem
    async with connect(cluster.access(base64.b64decode(data["token"]).decode())) as reader:
        await reader.list(PODS)
        await api.delete(SECRETS, "long-lived", "shop")
        with pytest.raises(Unauthorized):
            await reader.list(PODS)


async def asked(
    cluster: Cluster, path: str, method: str = "GET", body: Any = None, kind: str = ""
) -> tuple[int, Any, Any]:
    """Status, body and headers of an answer."""
    context = ssl.create_default_context(cadata=cluster.authority.pem.decode())
    headers = {"Authorization": "Bearer admin-token", **({"Content-Type": kind} if kind else {})}
    data = None if body is None else json.dumps(body)
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, cluster.url + path, headers=headers, data=data, ssl=context
        ) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


async def test_listings_of_the_past_and_of_the_future(cluster: Cluster) -> None:
    objects = cluster.objects
    objects.create(NAMESPACES, "", {"metadata": {"name": "then"}})
    objects.create(CONFIG_MAPS, "then", named("a", "then", data={"x": "1"}))
    past = objects.revision
    objects.update(CONFIG_MAPS, "then", "a", named("a", "then", data={"x": "2"}))
    objects.create(CONFIG_MAPS, "then", named("b", "then"))
    objects.delete(CONFIG_MAPS, "then", "a")
    maps = "/api/v1/namespaces/then/configmaps"
    _, found, _ = await asked(cluster, f"{maps}?resourceVersion={past}&resourceVersionMatch=Exact")
    assert [(each["metadata"]["name"], each["data"]) for each in found["items"]] == [
        ("a", {"x": "1"})
    ]
    assert found["metadata"]["resourceVersion"] == str(past)
    _, found, _ = await asked(cluster, f"{maps}?resourceVersion={past}")
    assert [each["metadata"]["name"] for each in found["items"]] == ["b"]
    status, found, headers = await asked(cluster, f"{maps}?resourceVersion={objects.revision + 9}")
    assert (status, headers["Retry-After"]) == (504, "1")
    assert found["message"].startswith("Timeout: Too large resource version")
    for query, words in (
        ("?resourceVersion=x", "want a number"),
        ("?resourceVersionMatch=Exact", "unless resourceVersion"),
        ("?fieldSelector=data.x%3D1", "field label not supported: data.x"),
        ("?labelSelector=a%20b%3D1", "unable to parse requirement"),
    ):
        status, found, _ = await asked(cluster, maps + query)
        assert (status, words in found["message"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "query", "kind", "code", "words"),
    [
        ("PATCH", "", APPLY_PATCH, 422, "fieldManager: Required value"),
        ("PATCH", "?force=true", MERGE_PATCH, 422, "force: Forbidden"),
        ("PATCH", "", "text/plain", 415, "accepted media types include"),
        ("PATCH", f"?fieldManager={'x' * 129}", MERGE_PATCH, 422, "Too long"),
        ("POST", "", "", 405, "does not allow this method"),
    ],
)
async def test_requests_that_make_no_sense(
    cluster: Cluster, method: str, query: str, kind: str, code: int, words: str
) -> None:
    path = f"/api/v1/namespaces/shop/configmaps/a{query}"
    status, body, _ = await asked(cluster, path, method, {}, kind)
    assert (status, words in body["message"]) == (code, True), body


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/namespaces/shop/pods/there/status", 200),
        ("/api/v1/namespaces/shop/configmaps/there/status", 404),
        ("/api/v1/namespaces/shop/pods/there/approval", 404),
        ("/api/v1/namespaces/shop/pods/there/nothing", 404),
    ],
)
async def test_subresources(cluster: Cluster, path: str, code: int) -> None:
    for kind in (PODS, CONFIG_MAPS):
        if (kind, "shop", "there") not in cluster.objects.stored:
            cluster.objects.create(kind, "shop", {"metadata": {"name": "there"}})
    change = {"status": {"phase": "Running"}}
    assert (await asked(cluster, path, "PATCH", change, MERGE_PATCH))[0] == code


async def test_preconditions(cluster: Cluster) -> None:
    made = cluster.objects.create(CONFIG_MAPS, "shop", {"metadata": {"name": "kept"}})
    path = "/api/v1/namespaces/shop/configmaps/kept"
    for precondition in ({"uid": "x"}, {"resourceVersion": "1"}):
        status, body, _ = await asked(cluster, path, "DELETE", {"preconditions": precondition})
        assert (status, "Precondition failed" in body["message"]) == (409, True)
    good = {"resourceVersion": made["metadata"]["resourceVersion"]}
    assert (await asked(cluster, path, "DELETE", {"preconditions": good}))[0] == 200


async def test_all_that_is_selected_is_deleted(cluster: Cluster, api: Api) -> None:
    for name, color in (("one", "red"), ("two", "red"), ("three", "blue")):
        body = {"metadata": {"name": name, "namespace": "other", "labels": {"color": color}}}
        await api.create(SECRETS, body)
    path = "/api/v1/namespaces/other/secrets?labelSelector=color%3Dred"
    assert (await asked(cluster, path, "DELETE"))[0] == 200
    assert [name_of(each) for each in (await api.list(SECRETS, "other")).objects] == ["three"]


async def test_events_of_an_object(api: Api) -> None:
    for name in ("web", "db"):
        about = {"kind": "Pod", "name": name}
        metadata = {"generateName": f"{name}-", "namespace": "shop"}
        event = {"metadata": metadata, "involvedObject": about, "reason": "Started"}
        await api.create(EVENTS, event)
    found = await api.list(EVENTS, "shop", fields="involvedObject.name=web,reason=Started")
    assert [name_of(each)[:4] for each in found.objects] == ["web-"]


async def test_a_definition_is_served_once_it_is_established(cluster: Cluster, api: Api) -> None:
    things = Resource("late.io", "v1", "things", "Thing")
    schema = {"openAPIV3Schema": {"type": "object"}}
    spec = {
        "group": "late.io",
        "names": {"plural": "things", "kind": "Thing"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    cluster.objects.establishing = False
    await api.create(CRDS, {"metadata": {"name": "things.late.io"}, "spec": spec})
    with pytest.raises(NotFound):
        await api.list(things)
    cluster.objects.establish("things.late.io")
    cluster.objects.establishing = True
    assert (await api.list(things)).objects == ()


async def test_what_the_server_has(cluster: Cluster) -> None:
    assert (await asked(cluster, "/version"))[1]["gitVersion"] == cluster.version
    groups = (await asked(cluster, "/apis"))[1]["groups"]
    assert "rbac.authorization.k8s.io" in {each["name"] for each in groups}
    listed = (await asked(cluster, "/api/v1"))[1]["resources"]
    assert {"pods", "pods/status", "configmaps"} <= {each["name"] for each in listed}
    assert (await asked(cluster, "/apis/nobody.io/v1"))[0] == 404


async def test_a_watch_may_begin_with_what_is_there(cluster: Cluster, api: Api) -> None:
    await api.create(CONFIG_MAPS, named("there", "other"))
    async with asyncio.timeout(30), aclosing(watch(api, CONFIG_MAPS, "0", "other")) as events:
        first = await anext(events)
    assert (first.type, name_of(first.object)) == ("ADDED", "there")


@pytest.mark.parametrize(
    ("propagation", "left"), [("Background", []), ("Foreground", []), ("Orphan", ["child"])]
)
async def test_dependents(propagation: str, left: list[str]) -> None:
    objects = Objects()
    owner = objects.create(CONFIG_MAPS, "default", {"metadata": {"name": "owner"}})
    references = [{"kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}]
    child = {"metadata": {"name": "child", "ownerReferences": references}}
    objects.create(SECRETS, "default", child)
    objects.delete(CONFIG_MAPS, "default", "owner", propagation=propagation)
    assert [name_of(each) for each in objects.list(SECRETS, "default", lambda _: True)] == left
    assert objects.list(CONFIG_MAPS, "default", lambda _: True) == []


async def test_a_namespace_waits_for_what_is_held_in_it() -> None:
    objects = Objects()
    objects.create(NAMESPACES, "", {"metadata": {"name": "ending"}})
    held = {"metadata": {"name": "held", "finalizers": ["test/hold"]}}
    objects.create(CONFIG_MAPS, "ending", held)
    objects.delete(NAMESPACES, "", "ending")
    assert objects.get(NAMESPACES, "", "ending")["status"] == {"phase": "Terminating"}
    found = objects.get(CONFIG_MAPS, "ending", "held")
    more = {**found, "metadata": {**found["metadata"], "finalizers": ["test/hold", "another"]}}
    with pytest.raises(Status, match="no new finalizers"):
        objects.update(CONFIG_MAPS, "ending", "held", more)
    found["metadata"]["finalizers"] = []
    objects.update(CONFIG_MAPS, "ending", "held", found)
    with pytest.raises(Status, match='namespaces "ending" not found'):
        objects.get(NAMESPACES, "", "ending")


@pytest.mark.parametrize(
    ("resource", "metadata", "words"),
    [
        (CONFIG_MAPS, {"name": "A_b"}, "RFC 1123 subdomain"),
        (NAMESPACES, {"name": "a.b"}, "RFC 1123 label"),
        (CONFIG_MAPS, {"name": "a", "labels": {"x": "y z"}}, r"metadata\.labels"),
        (CONFIG_MAPS, {"name": "a", "annotations": {"x y": ""}}, r"metadata\.annotations"),
    ],
)
async def test_metadata(api: Api, resource: Resource, metadata: Any, words: str) -> None:
    place = {"namespace": "shop"} if resource.namespaced else {}
    with pytest.raises(ApiError, match=words):
        await api.create(resource, {"metadata": {**metadata, **place}})


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(chaos.BUSY, ApiError, id="429"),
        pytest.param(chaos.BROKEN, ApiError, id="500"),
        pytest.param(chaos.TIMED_OUT, ApiError, id="504"),
        pytest.param(chaos.EXPIRED, Expired, id="410"),
        pytest.param(chaos.UNKNOWN_TOKEN, Unauthorized, id="401"),
        pytest.param(Dropped(), Unreachable, id="dropped"),
        pytest.param(Halved(), Unreachable, id="half-an-answer"),
        pytest.param(Delayed(timedelta(milliseconds=1)), NotFound, id="late"),
    ],
)
async def test_faults(cluster: Cluster, api: Api, fault: Fault, error: type[ApiFailure]) -> None:
    # Not a GET: over a connection that is in use already, the client asks for that again.
    cluster.chaos.plan("PATCH /api/v1/namespaces/shop/configmaps/absent", fault)
    with pytest.raises(error):
        await api.patch(CONFIG_MAPS, "absent", {}, "shop")
    with pytest.raises(NotFound):
        await api.patch(CONFIG_MAPS, "absent", {}, "shop")


async def test_a_write_may_have_happened_without_an_answer(cluster: Cluster, api: Api) -> None:
    cluster.chaos.plan("POST ", Dropped(after=True))
    with pytest.raises(Unreachable):
        await api.create(CONFIG_MAPS, named("done"))
    with pytest.raises(AlreadyExists):
        await api.create(CONFIG_MAPS, named("done"))


async def test_events_twice_and_old_ones(cluster: Cluster, api: Api) -> None:
    """As of servers whose caches differ."""
    first = await api.create(CONFIG_MAPS, named("seen"))
    version = (await api.list(CONFIG_MAPS)).version
    cluster.chaos.repeats = cluster.chaos.replays = 1
    try:
        async with asyncio.timeout(30), aclosing(watch(api, CONFIG_MAPS, version)) as events:
            old = [(await anext(events)).object for _ in range(2)]
    finally:
        cluster.chaos.repeats = cluster.chaos.replays = 0
    assert [json.dumps(each) for each in old] == [json.dumps(first)] * 2


async def test_a_cache_that_stands_still(cluster: Cluster, api: Api) -> None:
    version = (await api.list(CONFIG_MAPS, "other")).version
    cluster.stall()
    await api.create(CONFIG_MAPS, named("late", "other"))
    stale = await asked(cluster, "/api/v1/namespaces/other/configmaps?resourceVersion=0")
    assert "late" not in {each["metadata"]["name"] for each in stale[1]["items"]}
    async with (
        asyncio.timeout(30),
        aclosing(watch(api, CONFIG_MAPS, version, "other")) as events,
    ):
        assert (await anext(events)).type == "BOOKMARK"
        cluster.resume()
        seen = [event async for event in _until_not_a_bookmark(events)]
    assert name_of(seen[-1].object) == "late"


async def _until_not_a_bookmark(events: Any) -> AsyncIterator[Any]:
    async for event in events:
        yield event
        if event.type != "BOOKMARK":
            return


async def test_versions_that_are_forgotten_at_will(cluster: Cluster, api: Api) -> None:
    async with asyncio.timeout(30), aclosing(watch(api, CONFIG_MAPS, "")) as events:
        while (await anext(events)).type != "BOOKMARK":
            pass
        cluster.expire()
        with pytest.raises(Expired):
            [event async for event in events]
