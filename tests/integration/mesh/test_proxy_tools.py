"""mastctl looks into the proxies of a mesh on this machine, in every mode this machine can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.support.laptop import MODES, Ended, Laptop, mesh

pytestmark = pytest.mark.timeout(300)

CANARY = """
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: details},
 spec: {hosts: [details], http: [{name: canary, match: [{headers: {who: {exact: eve}}}],
        fault: {abort: {httpStatus: 418, percentage: {value: 100}}},
        route: [{destination: {host: details}}]}, {route: [{destination: {host: details}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: no-admin},
 spec: {action: DENY, rules: [{to: [{operation: {paths: ["/admin*"]}}]}]}}
"""


@pytest.fixture(params=MODES)
async def up(request: pytest.FixtureRequest) -> AsyncIterator[Laptop]:
    async with mesh(request.param) as machine:
        yield machine


async def test_a_workload_is_looked_into(up: Laptop) -> None:
    await up.run("details", "details", "--port", "9080")

    clusters = await up.mastctl("pc", "clusters", "details-v1", "--direction", "inbound")
    assert clusters.status == 0, clusters.err
    assert "9080" in clusters.out
    secrets = await up.mastctl("pc", "secret", "details-v1-1")
    assert "Cert Chain" in secrets.out, secrets.err
    assert "PRIVATE" not in (await up.mastctl("pc", "secret", "details-v1", "-o", "json")).out

    same = await until_same(up)
    assert "Clusters Match" in same.out

    file = up.temporary / "canary.yaml"
    file.write_text(CANARY)
    assert (await up.mastctl("apply", "-f", str(file))).status == 0
    line = ("explain", "--from", "details-v1", "--to", "details:9080", "-H", "who: eve")
    told = await up.mastctl(*line, "-o", "json")
    assert told.status == 0, told.err
    story = json.loads(told.out)
    assert list(story["clusters"][0].values()) == [
        "outbound|9080||details.default.svc.cluster.local",
        100,
    ]
    steps = {each["step"]: each for each in story["steps"]}
    blamed = [cause for each in story["steps"] for cause in each["causes"]]
    assert {
        "kind": "VirtualService",
        "namespace": "default",
        "name": "details",
        "field": "spec.http[0].match[0]",
    } in blamed
    assert "mutual TLS" in steps["towards"]["result"]
    assert "details-v1-1.default" in steps["arrives at"]["result"]

    await until_guarded(up)
    line = ("authz", "check", "details-v1", "--path", "/admin/1")
    refused = await up.mastctl(*line, "--source-principal", "cluster.local/ns/a/sa/b")
    assert refused.status == 1, refused.err
    assert refused.out.startswith("access: DENY: refused with 403: default/no-admin rule 0 matches")

    wrong = await up.mastctl("pc", "clusters", "nobody")
    assert wrong.status == 1
    assert "details-v1-1.default" in wrong.err


async def until_same(up: Laptop) -> Ended:
    """What Pilot means takes a moment to arrive."""
    async with asyncio.timeout(30):
        while True:
            found = await up.mastctl("proxy-status", "details-v1-1")
            if found.status == 0:
                return found


async def until_guarded(up: Laptop) -> None:
    """The policy is in the proxy."""
    async with asyncio.timeout(30):
        while (
            "no-admin.default"
            not in (found := await up.mastctl("authz", "check", "details-v1")).out
        ):
            assert found.status == 0, found.err
