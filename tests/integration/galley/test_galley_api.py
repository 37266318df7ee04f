"""Every call of ConfigService over real gRPC on a real etcd."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import grpc.aio
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from istio.mcp.v1alpha1 import resource_pb2
from istio.networking.v1alpha3 import destination_rule_pb2
from mast.common.etcd import EtcdConfig, connect
from mastapi.galley.v1 import config_pb2 as api
from tests.support.etcd_server import EtcdServer
from tests.support.galley_server import SECONDS, RunningGalley

Action = api.ApplyResponse
GOLDEN = Path(__file__).parents[2] / "golden" / "galley"


def rule(name: str = "a", host: str = "a.com", meta: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1alpha3\nkind: DestinationRule\n"
        f"metadata: {{name: {name}{meta}}}\nspec: {{host: {host}}}\n"
    )


def rules(count: int, host: str = "a.com") -> str:
    return "---\n".join(rule(f"r{n}", host) for n in range(count))


def actions(response: api.ApplyResponse) -> list[int]:
    return [result.action for result in response.results]


def report(error: grpc.aio.AioRpcError) -> api.ValidationReport:
    """The report among the status details."""
    metadata = dict(error.trailing_metadata() or ())
    content = metadata["grpc-status-details-bin"]
    assert isinstance(content, bytes)
    status = status_pb2.Status.FromString(content)
    assert status.code == error.code().value[0]
    found = api.ValidationReport()
    assert status.details[0].Unpack(found)
    return found


async def refused(galley: RunningGalley, text: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await galley.apply(text)
    return error.value


async def test_apply_creates_updates_and_leaves_alone(galley: RunningGalley) -> None:
    first = await galley.apply(rule())
    assert actions(first) == [Action.CREATED]
    assert first.results[0].object == api.ObjectRef(
        group="networking.istio.io", kind="DestinationRule", namespace="default", name="a"
    )
    assert first.results[0].resource_version == str(first.revision)
    same = await galley.apply(rule())
    assert (actions(same), same.revision) == ([Action.UNCHANGED], 0)
    assert same.results[0].resource_version == str(first.revision)
    changed = await galley.apply(rule(host="b.com"))
    assert actions(changed) == [Action.UPDATED]
    assert changed.revision > first.revision
    relabelled = await galley.apply(rule(host="b.com", meta=", labels: {x: y}"))
    assert actions(relabelled) == [Action.UPDATED]
    (found,) = (await galley.listed("DestinationRule")).values()
    assert found.metadata.generation == 2, "labels do not count"
    assert found.metadata.labels == {"x": "y"}


async def test_what_is_stored_is_what_the_mesh_reads(
    lone_galley: RunningGalley, etcd: EtcdServer
) -> None:
    await lone_galley.apply(rule(meta=", annotations: {n: m}"), default_namespace="shop")
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store:
        entry = await store.get("config/istio/networking/v1alpha3/destinationrules/shop/a")
    assert entry is not None
    stored = resource_pb2.Resource.FromString(entry.value)
    assert (stored.metadata.name, stored.metadata.version) == ("shop/a", "1")
    assert stored.metadata.annotations == {"n": "m"}
    assert stored.metadata.HasField("create_time")
    spec = destination_rule_pb2.DestinationRule()
    assert stored.body.Unpack(spec)
    assert spec.host == "a.com"


async def test_a_request_is_one_transaction(galley: RunningGalley) -> None:
    """More operations than etcd takes by default."""
    response = await galley.apply(rules(200))
    assert actions(response) == [Action.CREATED] * 200
    assert {result.resource_version for result in response.results} == {str(response.revision)}


async def test_too_large_a_request_changes_nothing(galley: RunningGalley) -> None:
    error = await refused(galley, rules(299))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "299 objects change in one request; allowed: 298" in (error.details() or "")
    assert await galley.listed() == {}


async def test_etcds_own_limit_is_told(galley: RunningGalley) -> None:
    big = ["apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
           f"metadata: {{name: big{n}, annotations: {{n: {'x' * 200_000}}}}}\n"
           f"spec: {{hosts: [a{n}.com], ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n"
           for n in range(9)]  # fmt: skip
    error = await refused(galley, "---\n".join(big))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "etcd does not take the request" in (error.details() or "")
    assert await galley.listed() == {}


async def test_one_bad_object_keeps_all_out(galley: RunningGalley) -> None:
    error = await refused(galley, rule("good") + "---\n" + rule("bad", "a b"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (problem,) = report(error).problems
    assert (problem.source, problem.line, problem.path, problem.rule) == (
        "test.yaml", 9, "spec.host", "host",
    )  # fmt: skip
    assert (problem.kind, problem.namespace, problem.name) == ("DestinationRule", "default", "bad")
    assert problem.severity == api.Problem.ERROR
    assert await galley.listed() == {}


@pytest.mark.parametrize(
    ("text", "line", "path", "rule_broken"),
    [
        pytest.param(rule() + "\n  bad: [", 6, "", "malformed-yaml", id="malformed-yaml"),
        pytest.param(rule() + "spec: {}\n", 5, "", "duplicate-key", id="key-twice"),
        pytest.param(rule().replace("host:", "hots:"), 4, "spec.hots", "unknown-field",
                     id="unknown-field"),
        pytest.param(rule().replace("a.com", "5"), 4, "spec.host", "wrong-type", id="wrong-type"),
        pytest.param(rule().replace("DestinationRule", "Destination"), 2, "kind", "unknown-kind",
                     id="unknown-kind"),
        pytest.param(rule().replace("v1alpha3", "v9"), 1, "apiVersion", "unknown-version",
                     id="unknown-version"),
        pytest.param(rule("A_b"), 3, "metadata.name", "name", id="bad-name"),
        pytest.param(rule() + "extra: 1\n", 5, "extra", "unknown-field", id="top-level"),
        pytest.param(rule() + "---\n" + rule(), 6, "", "duplicate-object", id="object-twice"),
        pytest.param("just text", 1, "", "not-an-object", id="no-object"),
    ],
)  # fmt: skip
async def test_bad_input_tells_line_path_and_rule_and_stores_nothing(
    galley: RunningGalley, text: str, line: int, path: str, rule_broken: str
) -> None:
    error = await refused(galley, text)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = [p for p in report(error).problems if p.rule == rule_broken]
    assert [(p.source, p.line, p.path) for p in found] == [("test.yaml", line, path)]
    assert found[0].message
    assert "test.yaml" in (error.details() or "")
    assert await galley.listed() == {}


async def test_a_report_too_long_for_the_trailers_is_cut(galley: RunningGalley) -> None:
    text = "---\n".join(rule(f"r{n}", "a b") for n in range(200))
    error = await refused(galley, text)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert 5 < len(report(error).problems) < 200
    assert "(and 199 more errors)" in (error.details() or "")
    request = api.ValidateRequest(sources=[api.Source(text=text)])
    assert len((await galley.stub.Validate(request)).problems) == 200


async def test_long_values_do_not_break_the_answer(galley: RunningGalley) -> None:
    error = await refused(galley, rule(host="'" + "a " * 50_000 + "'"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [p.rule for p in report(error).problems] == ["host"]


async def test_dry_run_stores_nothing(galley: RunningGalley) -> None:
    response = await galley.apply(rule(), dry_run=True)
    assert (actions(response), response.revision) == ([Action.CREATED], 0)
    assert await galley.listed() == {}


async def test_warnings_come_with_success(galley: RunningGalley) -> None:
    text = rule().replace("{host: a.com}", "{host: a.com, workloadSelector: {}}")
    response = await galley.apply(text)
    assert [(w.rule, w.severity) for w in response.warnings] == [
        ("empty-selector", api.Problem.WARNING)
    ]
    assert len(await galley.listed()) == 1


async def test_objects_are_applied_like_text(galley: RunningGalley) -> None:
    await galley.apply(rule(meta=", labels: {x: y}"))
    found = (await galley.listed())["default/a"]
    again = await galley.stub.Apply(api.ApplyRequest(objects=[found]))
    assert actions(again) == [Action.UNCHANGED], "what was read can be written back"
    found.spec["host"] = "b.com"
    changed = await galley.stub.Apply(api.ApplyRequest(objects=[found]))
    assert actions(changed) == [Action.UPDATED]


async def test_a_resource_version_protects_from_lost_updates(galley: RunningGalley) -> None:
    await galley.apply(rule())
    mine = (await galley.listed())["default/a"]
    await galley.apply(rule(host="theirs.com"))
    mine.spec["host"] = "mine.com"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await galley.stub.Apply(api.ApplyRequest(objects=[mine]))
    assert error.value.code() is grpc.StatusCode.ABORTED
    assert "read it again" in (error.value.details() or "")
    assert (await galley.listed())["default/a"].spec["host"] == "theirs.com"


async def test_racing_writers_end_with_one_of_their_objects(galley: RunningGalley) -> None:
    hosts = [f"h{n}.com" for n in range(12)]
    async with asyncio.TaskGroup() as tasks:
        for host in hosts:
            tasks.create_task(galley.apply(rule("a", host) + "---\n" + rule("b", host)))
    found = await galley.listed()
    assert found["default/a"].spec["host"] == found["default/b"].spec["host"]
    assert found["default/a"].metadata.generation == 12


async def test_get(galley: RunningGalley) -> None:
    await galley.apply(rule())
    ref = api.ObjectRef(kind="DestinationRule", name="a")
    found = (await galley.stub.Get(api.GetRequest(object=ref))).object
    assert (found.api_version, found.spec["host"]) == ("networking.istio.io/v1", "a.com")


@pytest.mark.parametrize(
    ("ref", "code", "message"),
    [
        pytest.param(api.ObjectRef(kind="DestinationRule", name="b"), grpc.StatusCode.NOT_FOUND,
                     "not found: DestinationRule default/b", id="missing"),
        pytest.param(api.ObjectRef(kind="Rule", group="a.b", name="b"),
                     grpc.StatusCode.INVALID_ARGUMENT, "unknown kind 'Rule'", id="kind"),
        pytest.param(api.ObjectRef(kind="Gateway", name="b"), grpc.StatusCode.INVALID_ARGUMENT,
                     "several groups: networking.istio.io, gateway.networking.k8s.io",
                     id="several-groups"),
        pytest.param(api.ObjectRef(kind="Sidecar"), grpc.StatusCode.INVALID_ARGUMENT,
                     "name is required", id="no-name"),
        pytest.param(api.ObjectRef(kind="Sidecar", name="a/b"), grpc.StatusCode.INVALID_ARGUMENT,
                     "must not be empty or contain '/'", id="slash"),
    ],
)  # fmt: skip
async def test_get_of_nothing(
    galley: RunningGalley, ref: api.ObjectRef, code: grpc.StatusCode, message: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await galley.stub.Get(api.GetRequest(object=ref))
    assert error.value.code() is code
    assert message in (error.value.details() or "")


async def test_list_selects(galley: RunningGalley) -> None:
    await galley.apply(rule("a", meta=", labels: {app: x}") + "---\n" + rule("b"))
    await galley.apply(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
        "metadata: {name: s, namespace: shop}\nspec: {egress: [{hosts: ['./*']}]}\n"
    )
    assert set(await galley.listed()) == {"default/a", "default/b", "shop/s"}
    assert set(await galley.listed("DestinationRule")) == {"default/a", "default/b"}
    assert set(await galley.listed("dr", "sidecars")) == {"default/a", "default/b", "shop/s"}
    assert set(await galley.listed(namespace="shop")) == {"shop/s"}
    assert set(await galley.listed(label_selector="app=x")) == {"default/a"}
    assert set(await galley.listed("dr", label_selector="app!=x")) == {"default/b"}
    with pytest.raises(grpc.aio.AioRpcError, match="unknown kind 'Nothing'"):
        await galley.listed("Nothing")


async def test_delete(galley: RunningGalley) -> None:
    await galley.apply(rules(3))
    ref = api.ObjectRef(kind="DestinationRule", name="r0")
    source = api.Source(text=rule("r1", "whatever is not judged"))
    response = await galley.stub.Delete(api.DeleteRequest(objects=[ref], sources=[source]))
    assert [deleted.name for deleted in response.deleted] == ["r0", "r1"]
    assert set(await galley.listed()) == {"default/r2"}


async def test_delete_of_something_missing_deletes_nothing(galley: RunningGalley) -> None:
    await galley.apply(rule())
    refs = [api.ObjectRef(kind="DestinationRule", name=name) for name in ("a", "b")]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await galley.stub.Delete(api.DeleteRequest(objects=refs))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert set(await galley.listed()) == {"default/a"}
    request = api.DeleteRequest(objects=refs, ignore_missing=True)
    assert [ref.name for ref in (await galley.stub.Delete(request)).deleted] == ["a"]
    assert (await galley.stub.Delete(request)).revision == 0


async def test_delete_of_nonsense_is_refused(galley: RunningGalley) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await galley.stub.Delete(api.DeleteRequest(sources=[api.Source(text="a: [")]))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_watch(galley: RunningGalley) -> None:
    await galley.apply(rule("a", meta=", labels: {app: x}"))
    watch = galley.stub.Watch(api.WatchRequest(kinds=["dr"], label_selector="app=x"))

    async def event() -> tuple[int, str]:
        async with asyncio.timeout(SECONDS):
            found = await watch.read()
        assert isinstance(found, api.WatchEvent)
        return found.type, found.object.metadata.name

    assert await event() == (api.WatchEvent.ADDED, "a")
    assert await event() == (api.WatchEvent.SYNCED, "")
    await galley.apply(rule("ignored"))
    await galley.apply(rule("a", "b.com", meta=", labels: {app: x}"))
    assert await event() == (api.WatchEvent.MODIFIED, "a")
    await galley.apply(rule("a", "b.com"))
    assert await event() == (api.WatchEvent.DELETED, "a")
    await galley.apply(rule("c", meta=", labels: {app: x}"))
    assert await event() == (api.WatchEvent.ADDED, "c")
    ref = api.ObjectRef(kind="DestinationRule", name="c")
    await galley.stub.Delete(api.DeleteRequest(objects=[ref]))
    assert await event() == (api.WatchEvent.DELETED, "c")
    watch.cancel()


async def test_watch_of_nothing_known_is_refused(galley: RunningGalley) -> None:
    watch = galley.stub.Watch(api.WatchRequest(kinds=["Nothing"]))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await watch.read()
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_watch_survives_a_restart_of_etcd(
    lone_galley: RunningGalley, etcd: EtcdServer
) -> None:
    watch = lone_galley.stub.Watch(api.WatchRequest())
    async with asyncio.timeout(SECONDS):
        first = await watch.read()
        assert isinstance(first, api.WatchEvent)
        assert first.type == api.WatchEvent.SYNCED
        await etcd.restart()
        await lone_galley.apply(rule())
        second = await watch.read()
    assert isinstance(second, api.WatchEvent)
    assert (second.type, second.object.metadata.name) == (api.WatchEvent.ADDED, "a")
    watch.cancel()


async def test_validate_stores_nothing(galley: RunningGalley) -> None:
    request = api.ValidateRequest(
        sources=[api.Source(name="x", text=rule("a") + "---\n" + rule("b", "a b"))],
        objects=[api.Object(api_version="a/v1", kind="B")],
    )
    found = await galley.stub.Validate(request)
    assert found.objects == 2
    assert [(p.source, p.rule) for p in found.problems] == [
        ("x", "host"),
        ("objects[0]", "unknown-kind"),
    ]
    assert await galley.listed() == {}


@pytest.mark.parametrize("sample", ["current", "legacy", "kubernetes"])
async def test_samples_are_stored_and_come_back(galley: RunningGalley, sample: str) -> None:
    text = (GOLDEN / f"{sample}.yaml").read_text()
    response = await galley.apply(text)
    assert {result.action for result in response.results} == {Action.CREATED}
    found = await galley.stub.List(api.ListRequest())
    assert len(found.objects) == len(response.results)
    again = await galley.stub.Apply(api.ApplyRequest(objects=found.objects))
    assert set(actions(again)) == {Action.UNCHANGED}


async def test_the_admin_socket_is_private(galley: RunningGalley) -> None:
    socket = galley.config.admin_socket
    assert socket is not None
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


async def test_health_and_metrics(galley: RunningGalley) -> None:
    async with grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as channel:
        request = health_pb2.HealthCheckRequest(service="mastapi.galley.v1.ConfigService")
        health = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=SECONDS)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    await galley.apply(rule())
    await refused(galley, rule("b", "a b"))
    _, text = await galley.page("/metrics")
    labels = 'group="networking.istio.io"'
    version = 'resource="destinationrules",version="v1"'
    assert f"galley_validation_passed{{{labels},{version}}} 1" in text
    failed = f'galley_validation_failed{{{labels},reason="host",{version}}} 1'
    assert failed in text


async def test_without_etcd_calls_are_unavailable_and_recover(
    lone_galley: RunningGalley, etcd: EtcdServer
) -> None:
    await lone_galley.apply(rule())
    await etcd.kill()
    error = await refused(lone_galley, rule(host="b.com"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert etcd.endpoint in (error.details() or "")
    status, detail = await lone_galley.page("/ready")
    assert status == 200, "losing etcd later does not make it unready (A7)"
    assert "disconnected" in detail
    valid = await lone_galley.stub.Validate(api.ValidateRequest(sources=[api.Source(text=rule())]))
    assert list(valid.problems) == []
    await etcd.restart()
    assert actions(await lone_galley.apply(rule(host="b.com"))) == [Action.UPDATED]
