"""Members of etcd as the chart starts them: they find each other, and users are no members."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp

from mast.cli.etcd_pki import Authority, KeyPair
from mast.cli.local import etcd
from tests.support.chart import containers, named, profile, rendered
from tests.support.until import until

MEMBERS = range(3)
PEER, METRICS = 2380, 2381
_MEMBER = re.compile(r"mast-etcd-(\d)\.mast-etcd\.[\w.-]+")


def written(folder: Path, name: str, pair: KeyPair) -> None:
    (folder / f"{name}.crt").write_bytes(pair.certificate)
    (folder / f"{name}.key").write_bytes(pair.key)


def here(argument: str, member: int, folder: Path, hosts: Sequence[str]) -> str:
    """An argument with directories and addresses of this machine."""
    text = argument.replace("$(POD_NAME)", f"mast-etcd-{member}")
    text = text.replace("/etc/etcd/pki", str(folder)).replace("/var/lib/etcd", f"{folder}/{member}")
    text = text.replace("[::]", hosts[member])
    return _MEMBER.sub(lambda found: hosts[int(found[1])], text)


@asynccontextmanager
async def members(folder: Path, hosts: Sequence[str]) -> AsyncIterator[None]:
    """One for each of the hosts."""
    pod = named(rendered(profile("ha")), "StatefulSet/mast-etcd")["spec"]["template"]
    (container,) = containers(pod)
    processes = []
    try:
        for each in MEMBERS:
            arguments = [here(argument, each, folder, hosts) for argument in container["args"]]
            processes.append(
                await asyncio.create_subprocess_exec(
                    etcd.binary(),
                    *arguments,
                    "--unsafe-no-fsync",
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
            )
        yield
    finally:
        for process in processes:
            process.kill()
            await process.wait()
        for each in MEMBERS:
            shutil.rmtree(folder / str(each), ignore_errors=True)


async def healthy(host: str) -> bool:
    """As the kubelet asks."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{host}:{METRICS}/health") as answer,
        ):
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def refused(host: str, folder: Path, name: str) -> bool:
    """Whether a member hangs up on the holder of a certificate."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{host}:{PEER}/version", ssl=context) as answer,
        ):
            return answer.status != 200
    except aiohttp.ClientError:
        return True


async def test_users_are_no_members(tmp_path: Path) -> None:
    now = datetime.now(tz=UTC)  # noqa: TID251 - certificates need the real time
    # Nobody else is at these addresses, so members have their own ports.
    base = ".".join(str(random.randint(64, 250)) for _ in range(2))  # noqa: S311
    hosts = [f"127.{base}.{each + 1}" for each in MEMBERS]
    authority = Authority.new(now)
    written(tmp_path, "ca", authority.pair)
    written(tmp_path, "tls", authority.member(("127.0.0.1", *hosts), now))
    written(tmp_path, "galley", authority.user("galley", now))
    async with members(tmp_path, hosts):
        for each in hosts:
            await until(partial(healthy, each))
        assert not await refused(hosts[0], tmp_path, "tls")
        assert await refused(hosts[0], tmp_path, "galley")
