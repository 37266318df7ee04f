"""What the demonstration measures with: Prometheus samples and answers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web

from mast.cli.demo.samples import bookinfo
from mast.cli.demo.stage import Answer, Stage, statuses, sum_of
from mast.cli.local.home import LOOPBACK, Home, Mesh
from mast.cli.local.processes import Process
from tests.support.http_site import http_site

PAGE = """# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",destination_service="a",response_code="200"} 3
istio_requests_total{reporter="destination",destination_service="a",response_code="503"} 2
istio_requests_total{reporter="source",destination_service="a",response_code="200"} 7
istio_requests_total{reporter="destination",destination_service="b",note="x \\"y\\", z"} 1
other{destination_service="a"} 100
bare 4
"""


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"destination_service": "a", "reporter": "destination"}, 5),
        ({"destination_service": "b"}, 1),
        ({"destination_service": "c"}, 0),
        ({}, 13),
    ],
)
def test_sum_of_matching_samples(labels: dict[str, str], expected: float) -> None:
    assert sum_of(PAGE, "istio_requests_total", labels) == expected


def test_samples_without_labels_count_too() -> None:
    assert sum_of(PAGE, "bare", {}) == 4


def test_statuses_are_counted() -> None:
    answers = [Answer(200, 1, 0), Answer(503, 1, 0), Answer(200, 1, 0)]
    assert statuses(answers) == "200: 2, 503: 1"


@pytest.mark.parametrize(("body", "expected"), [('{"a": 1}', {"a": 1}), ("no", {}), ("[1]", {})])
def test_document(body: str, expected: dict[str, int]) -> None:
    assert Answer(200, 1, 0, body).document == expected


async def test_traffic_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    """Also where the block fails; the load generator is the sample's."""
    seen = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        seen.set()
        return web.json_response({"id": 7})

    site = web.Application()
    site.router.add_get("/", answer)
    stage = Stage(Home(tmp_path), Mesh(LOOPBACK, Process(1, 1), {}), bookinfo(), tmp_path)
    line = (str(bookinfo() / "apps" / "loadgen.py"), "--control", str(tmp_path / "loadgen.sock"))
    process = await asyncio.create_subprocess_exec(sys.executable, *line)
    try:
        async with asyncio.timeout(60), http_site(site) as port:
            url = f"http://127.0.0.1:{port}/"
            async with stage.traffic(url, concurrency=2, interval_ms=1) as answers:
                await seen.wait()
                assert answers == []
            assert {each.status for each in answers} == {200}
            with pytest.raises(ExceptionGroup):
                async with stage.traffic(url, interval_ms=1):
                    raise OSError("over")
    finally:
        process.terminate()
        await process.wait()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("traffic")] == []
