"""The laptop's etcd: only holders of the mesh's client certificate get in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mast.cli.local import addresses, etcd
from mast.common.etcd import EtcdConfig, Unavailable, connect


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[str]:
    pki = tmp_path / "pki"
    etcd.write_pki(pki, "127.0.0.1", datetime.now(tz=UTC))  # noqa: TID251 - certificates need the real time
    chosen = [f"127.0.0.1:{addresses.port('127.0.0.1', 0)}" for _ in range(3)]
    with (tmp_path / "etcd.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *etcd.command(tmp_path / "data", pki, *chosen), stdout=log, stderr=log
        )
    try:
        yield chosen[0]
    finally:
        process.kill()
        await process.wait()


async def test_the_client_certificate_opens_it(endpoint: str, tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    config = EtcdConfig(
        endpoints=(endpoint,),
        ca=pki / "ca.pem",
        cert=pki / "client.pem",
        key=pki / "client-key.pem",
    )
    async with asyncio.timeout(20), connect(config) as store:
        while True:
            try:
                await store.put("config/a", b"1")
                break
            except Unavailable:
                await asyncio.sleep(0.1)
        entry = await store.get("config/a")
    assert entry is not None
    assert entry.value == b"1"


async def test_others_are_refused(endpoint: str, tmp_path: Path) -> None:
    await test_the_client_certificate_opens_it(endpoint, tmp_path)
    config = EtcdConfig(
        endpoints=(endpoint,), ca=tmp_path / "pki/ca.pem", timeout=timedelta(seconds=1)
    )
    async with connect(config) as store:
        with pytest.raises(Unavailable):
            await store.get("config/a")


def test_keys_are_private(tmp_path: Path) -> None:
    etcd.write_pki(tmp_path, "127.0.0.1", datetime(2026, 1, 1, tzinfo=UTC))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert not list(tmp_path.glob("ca-key*"))
