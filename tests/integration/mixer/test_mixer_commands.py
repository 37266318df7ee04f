"""mastctl mixer check and report, as mixc, against a running Mixer (mixer.md I)."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import pytest

from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import mixer
from tests.integration.mixer.test_mixer_service import DENY, QUOTA
from tests.support.etcd_server import EtcdServer
from tests.support.mixer_config import TELEMETRY


async def mastctl(*arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of ``mastctl mixer``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mast.cli.main", "mixer", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_check_and_report(etcd: EtcdServer, apply: Apply) -> None:
    await apply(TELEMETRY, DENY, QUOTA.replace("requestcount", "calls"))
    async with mixer(etcd.endpoint) as running:
        at = ("-m", await running.address("grpc"))
        asked = ("-s", "source.principal=ann", "-q", "calls=4", "-r", "2", "-o", "json")
        status, out, _ = await mastctl("check", *at, *asked)
        first, second = json.loads(out)
        assert status == 0
        assert first["status"]["name"] == "OK"
        assert first["quotas"]["calls"]["grantedAmount"] == 4
        # mixc takes what is left.
        assert second["quotas"]["calls"]["grantedAmount"] == 1
        principal = {"name": "source.principal", "condition": "EXACT"}
        assert principal in first["quotas"]["calls"]["referencedAttributes"]
        absent = {"name": "request.headers", "condition": "ABSENCE"}
        assert absent in first["referencedAttributes"]

        status, out, _ = await mastctl(
            "check", *at, "--stringmap_attributes", "request.headers=x-bad:yes"
        )
        assert status == 0
        denied = "PERMISSION_DENIED (denyall.istio-system:Not allowed)"
        assert out.splitlines()[:3] == [
            f"Check RPC completed successfully. Check status was {denied}",
            "  Valid use count: 1000, valid duration: 5s",
            "  Referenced Attributes",
        ]
        references = [line.strip() for line in out.splitlines()[3:]]
        assert references == sorted(references)
        assert "request.headers::x-bad EXACT" in references
        status, out, _ = await mastctl("check", *at, "-q", "calls=2,other=3")
        assert out.splitlines()[-3:] == [
            "  Quota  Granted Amount  Duration",
            "  calls  2               1m0s",
            "  other  3               1m0s",
        ]

        told = "context.reporter.kind=inbound,destination.service.host=told.example,"
        told += "context.protocol=http"
        status, out, _ = await mastctl(
            "report", *at, "-s", told, "-i", "response.code=418", "-r", "3"
        )
        assert (status, out) == (0, "Report RPC returned OK\n")
        address = await running.address("prometheus")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{address}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        (series,) = [line for line in lines if line.startswith("istio_requests_total{")]
        assert float(series.split()[-1]) == 3
        assert 'response_code="418"' in series


@pytest.mark.parametrize("command", ["check", "report"])
async def test_nobody_there(command: str) -> None:
    status, _, err = await mastctl(command, "-m", "127.0.0.1:9", "-s", "a=b")
    assert status == 1
    assert "RPC to 127.0.0.1:9 failed with: UNAVAILABLE (" in err
    assert "--mixer HOST:PORT" in err
