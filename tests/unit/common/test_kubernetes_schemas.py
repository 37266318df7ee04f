"""What an API server makes of objects of kinds that CRDs define: the fake one's rules."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from mast.common.kubernetes import Invalid, Resource, connect
from mast.common.kubernetes.objects import NAMESPACES
from tests.fakes.kubernetes.objects import CRDS
from tests.fakes.kubernetes.schemas import pruned
from tests.fakes.kubernetes.server import Cluster, api_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

THINGS = Resource("x.io", "v1", "things", "Thing")
SPEC = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "parts": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
SCHEMA = {"type": "object", "properties": {"spec": SPEC}}
CRD = {
    "metadata": {"name": "things.x.io"},
    "spec": {
        "group": "x.io",
        "names": {"plural": "things", "kind": "Thing"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "schema": {"openAPIV3Schema": SCHEMA}}],
    },
}
GOOD = {"size": 1, "parts": [{"name": "a"}], "labels": {"b": "c"}, "free": {"d": {"e": 1}}}
LOOSE = {**GOOD, "parts": [{"name": "a", "nam": 1}], "sise": 1}
UNKNOWN = ["spec.parts[0].nam", "spec.sise"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with api_server() as running:
        running.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        running.objects.create(CRDS, "", CRD)
        yield running


async def created(cluster: Cluster, spec: Any, validation: str) -> tuple[int, Any, list[str]]:
    url = f"{cluster.url}{THINGS.path('shop')}?dryRun=All&fieldValidation={validation}"
    context = ssl.create_default_context(cadata=cluster.authority.pem.decode())
    headers = {"Authorization": "Bearer admin-token"}
    body = {"metadata": {"name": "a", "annotations": {"x": "y"}}, "spec": spec}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers=headers, ssl=context) as answer,
    ):
        return answer.status, await answer.json(), answer.headers.getall("Warning", [])


async def test_what_is_kept() -> None:
    found = {"apiVersion": "x", "metadata": {"any": 1}, "spec": LOOSE, "other": 1}
    assert pruned(SCHEMA, found) == (
        {"apiVersion": "x", "metadata": {"any": 1}, "spec": GOOD},
        [*UNKNOWN, "other"],
    )


@pytest.mark.parametrize(("validation", "warned"), [("Ignore", []), ("Warn", UNKNOWN)])
async def test_unknown_fields_are_dropped(
    cluster: Cluster, validation: str, warned: list[str]
) -> None:
    status, made, warnings = await created(cluster, LOOSE, validation)
    assert (status, made["spec"]) == (201, GOOD)
    assert warnings == [f'299 - "unknown field \\"{path}\\""' for path in warned]


async def test_or_refused(cluster: Cluster) -> None:
    status, refused, _ = await created(cluster, LOOSE, "Strict")
    told = ", ".join(f'unknown field "{path}"' for path in UNKNOWN)
    assert (status, refused["message"]) == (400, f"strict decoding error: {told}")


async def test_what_does_not_fit_is_refused(cluster: Cluster) -> None:
    async with connect(cluster.access()) as api:
        body = {"metadata": {"name": "a", "namespace": "shop"}, "spec": GOOD}
        await api.create(THINGS, body)
        await api.patch(THINGS, "a", {"spec": {"size": None}}, "shop")
        with pytest.raises(Invalid, match=r'Thing\.x\.io "a" is invalid: spec\.size: .*minimum'):
            await api.patch(THINGS, "a", {"spec": {"size": 0}}, "shop")
        with pytest.raises(Invalid, match=r"spec\.parts: Invalid value"):
            await api.create(THINGS, {**body, "spec": {"parts": {}}}, dry_run=True)
