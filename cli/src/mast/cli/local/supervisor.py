"""The process behind ``mastctl up``: starts the control plane and restarts what dies."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import aiohttp
import grpc.aio
import structlog

from mast.cli.connect import citadel_admin
from mast.cli.errors import CommandError
from mast.cli.local import plan
from mast.cli.local.etcd_users import enable_users
from mast.cli.local.home import Home, Mesh
from mast.cli.local.processes import Process
from mast.common.backoff import Backoff
from mast.common.process.lifecycle import run
from mastapi.citadel.v1 import citadel_pb2

log = structlog.get_logger()

PATIENCE = timedelta(seconds=10)
STEADY_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """In a child before exec: be killed when the supervisor dies, however it dies (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Supervisor:
    """Keeps the processes of one mesh running and their records current."""

    def __init__(self, home: Home, mesh: Mesh) -> None:
        self._home = home
        self._mesh = mesh
        self._running: dict[str, Process] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``; then end the services, and the store after them."""
        store_stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            store = plan.etcd_service(self._home, self._mesh)
            tasks.create_task(self._keep(store, store_stop), name="keep-etcd")
            await _ready(store.ready, stop)
            await self._put_back(stop)
            await self._enable_users(stop)
            async with asyncio.TaskGroup() as services:
                for service in plan.services(self._home, self._mesh):
                    services.create_task(self._keep(service, stop), name=f"keep-{service.name}")
            store_stop.set()

    async def _put_back(self, stop: asyncio.Event) -> None:
        """Fill the store from a backup that waits for it, before any service sees it."""
        if stop.is_set() or not self._home.path(*plan.STAGED).exists():
            return
        from mast.cli.local.restoring import put_back

        await put_back(self._home, self._mesh)
        log.info("backup.restored")

    async def _enable_users(self, stop: asyncio.Event) -> None:
        """Have the store ask who calls, before anybody does."""
        endpoint = self._mesh.addresses["etcd"]
        while not stop.is_set():
            try:
                await enable_users(endpoint, plan.etcd_pki(self._home))
            except grpc.aio.AioRpcError as error:
                log.warning("etcd.users_failed", detail=error.details())
                await _either(stop, timedelta(milliseconds=200))
            else:
                return

    async def _keep(self, service: plan.Service, stop: asyncio.Event) -> None:
        backoff = Backoff(timedelta(milliseconds=100), timedelta(seconds=10))
        clock = asyncio.get_running_loop().time
        while not stop.is_set():
            begun = clock()
            code = await self._once(service, stop)
            if stop.is_set():
                return
            if clock() - begun > STEADY_SECONDS:
                backoff.reset()
            delay = backoff.next(random.random())  # noqa: S311
            log.warning(
                "process.exited", name=service.name, code=code, retry_s=delay.total_seconds()
            )
            await _either(stop, delay)

    async def _once(self, service: plan.Service, stop: asyncio.Event) -> int | None:
        """One life of a process: its exit code, or None if we ended it."""
        if service.account:
            await self._credential(service, stop)
        logs = self._home.path("logs", f"{service.name}.log")
        with logs.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *service.command,
                # Temporary files of a killed process are removed with everything else.
                env={**os.environ, "TMPDIR": str(self._home.path("tmp"))},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )
        self._note(service.name, Process.of(child.pid))
        log.info("process.started", name=service.name, pid=child.pid)
        try:
            return await _exit_or_stop(child, stop)
        finally:
            self._note(service.name, None)

    async def _credential(self, service: plan.Service, stop: asyncio.Event) -> None:
        """Give a service a fresh one-use token; without Citadel it starts all the same."""
        attempts = 50 if not plan.root_file(self._home).exists() else 10
        for _ in range(attempts):
            try:
                await self._write_credential(service)
            except CommandError:
                await _either(stop, timedelta(milliseconds=200))
                if stop.is_set():
                    return
            else:
                return
        log.warning("credential.missing", name=service.name)

    async def _write_credential(self, service: plan.Service) -> None:
        async with citadel_admin(self._mesh) as citadel:
            request = citadel_pb2.CreateJoinTokenRequest(
                namespace=plan.SYSTEM_NAMESPACE, service_account=service.account
            )
            token = await citadel.CreateJoinToken(request, timeout=2)
            bundle = await citadel.GetBundle(citadel_pb2.GetBundleRequest(), timeout=2)
        replace_file(plan.root_file(self._home), bundle.roots_pem, 0o644)
        replace_file(plan.token_file(self._home, service.name), token.token, 0o600)

    def _note(self, name: str, process: Process | None) -> None:
        if process is None:
            self._running.pop(name, None)
        else:
            self._running[name] = process
        self._home.record_services(self._running)


async def _exit_or_stop(child: asyncio.subprocess.Process, stop: asyncio.Event) -> int | None:
    async with asyncio.TaskGroup() as tasks:
        exited = tasks.create_task(child.wait())
        asked = tasks.create_task(stop.wait())
        await asyncio.wait({exited, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if exited.done():
            return exited.result()
        child.terminate()
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await asyncio.shield(exited)
        except TimeoutError:
            child.kill()
        return None


async def _ready(url: str, stop: asyncio.Event) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
        while not stop.is_set():
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await _either(stop, timedelta(milliseconds=50))


async def _either(stop: asyncio.Event, delay: timedelta) -> None:
    """Wait for ``stop``, at most for ``delay``."""
    try:
        async with asyncio.timeout(delay.total_seconds()):
            await stop.wait()
    except TimeoutError:
        return


def replace_file(path: Path, text: str, mode: int) -> None:
    """Write a file that others may be reading."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    aside.replace(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Supervise the mesh recorded in the state directory ``argv[0]``."""
    # With it comes OpenTelemetry, which the commands that import this module need not.
    from mast.common.process.telemetry import configure_logging

    (root,) = sys.argv[1:] if argv is None else argv
    home = Home(Path(root))
    mesh = home.mesh()
    if mesh is None:
        raise SystemExit(f"{root} holds no mesh")
    configure_logging("supervisor")
    run(lambda stop: Supervisor(home, mesh).run(stop))


if __name__ == "__main__":
    main()
