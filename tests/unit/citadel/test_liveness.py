"""A probe's file is touched as long as certificates can be signed (citadel-and-agent.md A10)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from structlog.testing import capture_logs

from mast.citadel.api.liveness import prove_liveness
from mast.citadel.api.signing import OwnSigning
from tests.support.until import until
from tests.unit.citadel.fakes import Clock, Desk


async def test_touched_while_there_is_a_ca(tmp_path: Path) -> None:
    desk = Desk()
    signing = OwnSigning(authority=lambda: desk.authority, now=Clock(), entropy=bytes)
    file = tmp_path / "probe" / "alive"
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            proving = tasks.create_task(prove_liveness(signing, file, timedelta(milliseconds=1)))
            await until(file.exists)
            desk.authority = None
            await until(lambda: bool(logs))
            file.unlink()
            seen = len(logs)
            await until(lambda: len(logs) > seen + 1)
            assert not file.exists()
            proving.cancel()
    assert logs[0]["event"] == "liveness.failed"
    assert logs[0]["reason"] == "the CA is not ready"
