"""What mastctl says to configuration that is wrong: file, line, path, rule; nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mast.cli.local.home import LOOPBACK
from tests.support.laptop import Laptop, mesh

pytestmark = pytest.mark.xdist_group("bad-configuration")  # they share a mesh

GOOD = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: good}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}
"""

TEMPLATE = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: bad}
spec: {action: DENY, rules: [{to: [{operation: {paths: ["/a/{*}", "/a/{id}"]}}]}]}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up() -> AsyncIterator[Laptop]:
    async with mesh(LOOPBACK) as machine:
        yield machine


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("a: [1\n", 2, ["malformed"], id="malformed-yaml"),
        pytest.param(
            GOOD.replace("hosts", "hostz"), 4, ["spec.hostz", "unknown-field"], id="unknown-field"
        ),
        pytest.param(
            GOOD.replace("hosts: [a]", "hosts: 7"), 4, ["spec.hosts", "7"], id="wrong-type"
        ),
        pytest.param(
            GOOD.replace("VirtualService", "VirtualServize"), 2, ["VirtualServize"], id="kind"
        ),
        pytest.param(
            TEMPLATE,
            4,
            ["spec.rules[0].to[0].operation.paths[1]", "'{id}' cannot be a part"],
            id="a-template-that-aborts-envoy",
        ),
    ],
)
async def test_refused(up: Laptop, tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(f"{GOOD.replace('name: good', 'name: other')}---\n{text}")
    offset = 5
    for command in ("apply", "validate"):
        ended = await up.mastctl(command, "-f", str(file))
        said = ended.out + ended.err
        assert ended.status == 1
        assert f"{file}:{line + offset}: error:" in said, said
        assert all(word in said for word in words), said
        assert "Traceback" not in said
    assert (await up.mastctl("get", "vs", "-o", "json")).out.count('"name"') == 0
