"""Starting and removing a laptop mesh."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp

from mast.cli.errors import CommandError
from mast.cli.local import addresses, configuration, etcd, network, plan
from mast.cli.local.home import LOOPBACK, NAMESPACES, Home, Mesh
from mast.cli.local.identities import proxy_user
from mast.cli.local.processes import Process, detached, end, gone

READY_SECONDS = 60
Progress = Callable[[str], None]


def default_mode() -> str:
    """Namespaces for root on a machine with iproute2 and iptables, else loopback."""
    capable = os.geteuid() == 0 and all(shutil.which(tool) for tool in ("ip", "iptables"))
    return NAMESPACES if capable else LOOPBACK


async def start(
    home: Home,
    mode: str,
    now: datetime,
    progress: Progress,
    *,
    policy: int = 0,
    telemetry: int = 0,
    prepare: Callable[[], None] | None = None,
) -> Mesh:
    """Start the control plane and give it its first configuration.

    One Mixer answers checks and takes reports, unless there are ``policy`` and ``telemetry`` ones.
    ``prepare`` puts a state there to begin with, which then is the first configuration.
    Raises CommandError if a mesh already runs here or a part does not come up; nothing is left
    behind then.
    """
    with home.lock():
        existing = home.mesh()
        if existing is not None and existing.supervisor.alive():
            raise CommandError(
                "a mesh is already running here",
                hint="mastctl status shows it, mastctl down ends it",
            )
        await remove(home, keep_lock=True)
        try:
            home.create()
            if prepare is not None:
                prepare()
            mesh = await _found(home, mode, now, policy, telemetry)
        except BaseException:
            await remove(home)
            raise
    try:
        await _until_ready(home, mesh, progress)
        if prepare is None:
            progress("storing the default configuration")
            await configuration.apply(
                mesh,
                [configuration.mesh_config(), *configuration.mixer_services(mesh)],
                configuration.telemetry_defaults(),
            )
        else:
            await configuration.apply(mesh, configuration.mixer_services(mesh))
    except BaseException:
        await remove(home)
        raise
    return mesh


async def start_anew(
    home: Home, now: datetime, progress: Progress, prepare: Callable[[], None]
) -> Mesh:
    """End the control plane of the mesh that is recorded here, if it runs, and start it again.

    Addresses and workloads stay. ``prepare`` is called in between. The store gets certificates of
    its users anew, so that there is an administrator for once. Raises CommandError if a part does
    not come up; what is stored stays then, and another call tries again.
    """
    with home.lock():
        mesh = home.mesh()
        if mesh is None:
            raise CommandError("there is no mesh here", hint="start one with: mastctl up")
        progress("stopping the control plane")
        await end([mesh.supervisor], timedelta(seconds=30))
        await gone(home.services().values())
        prepare()
        etcd.write_pki(plan.etcd_pki(home), addresses.control(home.tag), now)
        mesh = replace(mesh, supervisor=_supervise(home))
        home.record_mesh(mesh)
    await _until_ready(home, mesh, progress)
    await configuration.apply(mesh, configuration.mixer_services(mesh))
    return mesh


async def _found(home: Home, mode: str, now: datetime, policy: int, telemetry: int) -> Mesh:
    """Make the network and the records, and start the supervisor."""
    names = network.Names(home.tag)
    if mode == NAMESPACES:
        if os.geteuid() != 0:
            raise CommandError(
                "namespaces mode needs root", hint="use: mastctl up --mode loopback, or sudo"
            )
        subnet, user = await network.create_bridge(names), await proxy_user()
        host = addresses.gateway(subnet)
    else:
        subnet, user, host = "", os.geteuid(), addresses.control(home.tag)
    etcd.write_pki(plan.etcd_pki(home), addresses.control(home.tag), now)
    myself = Process.of(os.getpid())
    if myself is None:
        raise CommandError("this system has no /proc; a laptop mesh needs Linux")
    bridge = names.bridge if mode == NAMESPACES else ""
    mesh = Mesh(mode, myself, {}, bridge, subnet, user, policy=policy, telemetry=telemetry)
    mesh = replace(mesh, addresses=plan.choose_addresses(home, host, mesh.mixers))
    home.record_mesh(mesh)
    mesh = replace(mesh, supervisor=_supervise(home))
    home.record_mesh(mesh)
    return mesh


def _supervise(home: Home) -> Process:
    line = (sys.executable, "-m", "mast.cli.local.supervisor", str(home.root))
    process = detached(line, home.path("logs", "supervisor.log"))
    if process is None:
        raise CommandError("the supervisor ended at once", hint=f"see {home.path('logs')}")
    return process


async def _until_ready(home: Home, mesh: Mesh, progress: Progress) -> None:
    wanted = [plan.etcd_service(home, mesh), *plan.services(home, mesh)]
    try:
        async with (
            asyncio.timeout(READY_SECONDS),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
        ):
            for service in wanted:
                progress(f"waiting for {service.name}")
                while not await is_ready(session, service.ready):
                    if not mesh.supervisor.alive():
                        raise CommandError(
                            "the supervisor ended",
                            hint=_last_words(home.path("logs", "supervisor.log")),
                        )
                    await asyncio.sleep(0.05)
    except TimeoutError:
        log = home.path("logs", f"{service.name}.log")
        raise CommandError(
            f"{service.name} is not ready after {READY_SECONDS} s", hint=_last_words(log)
        ) from None


def _last_words(log: Path) -> str:
    """The end of a log that is about to be removed with everything else."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "its last words: " + " | ".join(lines[-3:]) if lines else "it wrote nothing"


async def is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether GET ``url`` answers 200 now."""
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def remove(home: Home, *, keep_lock: bool = False) -> None:
    """End and remove everything ``up`` and ``run`` made, whichever of it still lives.

    Works from the records and, for namespaces and links, from their names, so that nothing stays
    after any process was killed.
    """
    workloads = home.workloads()
    runners = [w.runner for w in workloads if w.runner.pid != os.getpid()]
    await end(runners, timedelta(seconds=15))
    await end([p for w in workloads for p in w.processes.values()], timedelta(seconds=5))
    mesh = home.mesh()
    if mesh is not None and mesh.supervisor.pid != os.getpid():
        await end([mesh.supervisor], timedelta(seconds=30))
    services = home.services().values()
    for process in services:
        process.send(signal.SIGKILL)
    await gone(services)
    if os.geteuid() == 0 and shutil.which("ip"):
        await network.remove_all(network.Names(home.tag))
    home.clear(keep_lock=keep_lock)
