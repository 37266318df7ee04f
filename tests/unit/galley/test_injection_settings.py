"""What injection goes by: the newest settings that are good (galley-and-kubernetes.md C)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from structlog.testing import capture_logs

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.common.etcd import Batch, Change, Store
from mast.galley.core.admission.review import Review
from mast.galley.store.injection import InjectionSettings
from tests.support.until import until

POD: dict[str, Any] = {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}
MESH = "config/istio/mesh/v1alpha1/MeshConfig/istio-system/"


@dataclass
class FakeMesh:
    """A store of mesh settings."""

    batches: asyncio.Queue[Batch] = field(default_factory=asyncio.Queue)

    def tell(self, **values: bytes | None) -> None:
        changes = (
            Change(MESH + name, value, 2, number, None)
            for number, (name, value) in enumerate(values.items())
        )
        self.batches.put_nowait(Batch(tuple(changes), 2, True))

    async def follow(self, prefix: str) -> AsyncIterator[Batch]:
        assert MESH.startswith(prefix)
        while True:
            yield await self.batches.get()


def stored(trust_domain: str) -> bytes:
    resource = Resource()
    resource.body.Pack(MeshConfig(trust_domain=trust_domain))
    return resource.SerializeToString()


@asynccontextmanager
async def following(settings: InjectionSettings) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(settings.run())
        yield
        running.cancel()


def proxy(settings: InjectionSettings, cluster: str = "") -> str:
    """What a pod would get, as text; empty if there are no settings."""
    judge = settings.judge(cluster, "")
    if judge is None:
        return ""
    asked = Review(
        "admission.k8s.io/v1", "7", "CREATE", resource="pods", namespace="shop", content=POD
    )
    return json.dumps(list(judge(asked).patch))


async def test_files_and_mesh_as_they_change(tmp_path: Path) -> None:
    mesh = FakeMesh()
    config, values = tmp_path / "config", tmp_path / "values"
    config.write_text("policy: enabled\n")
    values.write_text('{"global": {"hub": "one.example.com"}}')
    settings = InjectionSettings(
        cast(Store, mesh), "canary", config, values, poll=timedelta(milliseconds=5)
    )
    with capture_logs() as logs:
        async with following(settings):
            await asyncio.sleep(0)
            assert (settings.ready, proxy(settings)) == (False, "")
            mesh.tell(default=stored("one.org"), later=stored("two.org"), broken=b"\xff")
            await until(lambda: settings.ready)
            found = proxy(settings, "east")
            assert all(text in found for text in ("one.org", "one.example.com/", "east", "canary"))
            values.write_text("global: [\n")
            await until(lambda: settings.problem.startswith("values: line 2: not YAML"))
            assert "one.example.com/" in proxy(settings)
            values.write_text("global: {hub: two.example.com}\n")
            config.write_text("policy: sometimes\n")
            await until(lambda: "policy 'sometimes'" in settings.problem)
            config.write_text("[]")
            await until(lambda: settings.problem == "injector configuration: want an object")
            config.unlink()
            await until(lambda: "No such file" in settings.problem)
            config.write_text("")
            await until(lambda: not settings.problem)
            assert "two.example.com/" in proxy(settings)
            mesh.tell(default=None)
            await until(lambda: "two.org" in proxy(settings))
    rejected = [each for each in logs if each["event"] == "injection.settings_rejected"]
    assert len({each["error"] for each in rejected}) == len(rejected)
    assert any(each["event"] == "injection.mesh_unreadable" for each in logs)


async def test_without_files_there_are_defaults() -> None:
    mesh = FakeMesh()
    settings = InjectionSettings(cast(Store, mesh), "default", kubelets={"a": "v1.33.0"})
    async with following(settings):
        mesh.tell()
        await until(lambda: settings.ready)
    assert "restartPolicy" in proxy(settings)
    settings.kubelets["b"] = "v1.32.9"
    assert "restartPolicy" not in proxy(settings)
