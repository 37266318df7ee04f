"""The laptop's etcd: only holders of its certificates get in, each to its own prefixes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc.aio
import pytest

from mast.cli.etcd_pki import SERVER
from mast.cli.local import addresses, etcd
from mast.cli.local.etcd_users import enable_users
from mast.common import keys
from mast.common.etcd import EtcdConfig, Rejected, Store, Unavailable, connect
from mast.common.etcd.roles import ADMINISTRATOR, ROLES
from tests.support.ads_server import until

DOCUMENT = Path(__file__).parents[3] / "docs" / "security.md"
PREFIXES = (
    keys.CONFIG,
    keys.SECRETS,
    keys.HISTORY,
    keys.REGISTRY_SERVICES,
    keys.REGISTRY_WORKLOADS,
    keys.REGISTRY_ENDPOINTS,
    keys.REGISTRY_CLUSTERS,
    keys.TRUST,
    keys.JWKS,
    keys.CA,
    keys.QUOTA,
    keys.FLOWS,
    keys.STATUS_CONFIG,
    keys.STATUS_PROXIES,
    keys.STATUS_GATEWAYS,
    keys.STATUS_MIXER,
    keys.STATUS_CLUSTERS,
    f"{keys.STATUS_TRUST}galley-",
    f"{keys.STATUS_TRUST}pilot",
    f"{keys.STATUS_TRUST}mixer-",
    f"{keys.LEADER}galley-",
    f"{keys.LEADER}istio-",
    f"{keys.LEADER}pilot-",
    f"{keys.LEADER}citadel-",
    "elsewhere/",
)
NOBODY = "-"


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
        await until(partial(_enabled, chosen[0], pki), seconds=30)
        yield chosen[0]
    finally:
        process.kill()
        await process.wait()
        shutil.rmtree(tmp_path / "data")


async def _enabled(endpoint: str, pki: Path) -> bool:
    try:
        await enable_users(endpoint, pki)
    except grpc.aio.AioRpcError:
        return False
    return True


@asynccontextmanager
async def store_of(user: str, endpoint: str, pki: Path) -> AsyncIterator[Store]:
    """The store as a user sees it; with no user at all as somebody without a certificate does."""
    chain, key = etcd.certificate(pki, user) if user else (None, None)
    config = EtcdConfig(
        endpoints=(endpoint,),
        ca=pki / "ca.pem",
        cert=chain,
        key=key,
        timeout=timedelta(seconds=20 if user else 1),
    )
    async with connect(config) as store:
        yield store


async def allowed(call: Awaitable[object]) -> bool:
    """Whether etcd lets the caller do it; it refuses for no other reason."""
    try:
        await call
    except Rejected as error:
        if error.code != "PERMISSION_DENIED":
            raise
        return False
    return True


async def may(store: Store, prefix: str) -> str:
    """`read`, `write` (and read), or nothing, as docs/security.md says it."""
    reads = {await allowed(store.list(prefix)), await allowed(store.get(f"{prefix}a"))}
    writes = {
        await allowed(store.put(f"{prefix}a", b"1")),
        await allowed(store.delete(f"{prefix}a")),
    }
    return {(True, True): "write", (True, False): "read", (False, False): NOBODY}[
        reads == {True}, writes == {True}
    ]


def documented() -> Iterator[tuple[str, str, str]]:
    """Prefix, user and what the user may do there, by the table of docs/security.md."""
    lines = DOCUMENT.read_text().splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("| prefix |"))
    users = [each.strip() for each in lines[start].strip("|").split("|")[1:]]
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        prefix, *uses = [each.strip() for each in line.strip("|").split("|")]
        for user, each in zip(users, uses, strict=True):
            yield prefix.strip("`"), user, each or NOBODY


async def test_every_user_on_every_prefix(endpoint: str, tmp_path: Path) -> None:
    """Each service reaches its own prefixes and no other: what docs/security.md says."""
    told: dict[str, dict[str, str]] = {}
    for prefix, user, use in documented():
        told.setdefault(user, {})[prefix] = use
    found = {}
    for user in ROLES:
        async with store_of(user, endpoint, tmp_path / "pki") as store:
            found[user] = {prefix: await may(store, prefix) for prefix in PREFIXES}
            with pytest.raises(Rejected, match="permission denied"):
                await store.list("")
    assert found == {
        user: {prefix: told[user].get(prefix, NOBODY) for prefix in PREFIXES} for user in ROLES
    }
    assert told.keys() == ROLES.keys()
    assert {prefix for each in told.values() for prefix in each} == {*PREFIXES} - {"elsewhere/"}


async def test_others_are_refused(endpoint: str, tmp_path: Path) -> None:
    async with store_of("", endpoint, tmp_path / "pki") as store:
        with pytest.raises(Unavailable):
            await store.get("config/a")


async def test_the_server_is_no_user(endpoint: str, tmp_path: Path) -> None:
    """Whoever takes the member's own certificate reads nothing with it."""
    async with store_of(SERVER, endpoint, tmp_path / "pki") as store:
        with pytest.raises(Rejected):
            await store.get("config/a")


async def test_nobody_administers_it(endpoint: str, tmp_path: Path) -> None:
    """The administrator's key is gone, and making users anew does nothing."""
    _, key = etcd.certificate(tmp_path / "pki", ADMINISTRATOR)
    assert not key.exists()
    await enable_users(endpoint, tmp_path / "pki")


def test_keys_are_private(tmp_path: Path) -> None:
    etcd.write_pki(tmp_path, "127.0.0.1", datetime(2026, 1, 1, tzinfo=UTC))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert not list(tmp_path.glob("ca-key*"))
