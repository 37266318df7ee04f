"""Runs one workload: its place, its agent and Envoy, the program, and the removal of all of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import aiohttp

from mast.cli.connect import citadel_admin
from mast.cli.errors import CommandError
from mast.cli.local import addresses, network
from mast.cli.local.configuration import apply
from mast.cli.local.home import LOOPBACK, NAMESPACES, Home, Mesh, Workload
from mast.cli.local.identities import PROXY_ID, as_program, as_proxy
from mast.cli.local.plan import root_file
from mast.cli.local.processes import Process
from mast.cli.local.spec import Place, Spec, agent_environment, objects, program_environment
from mast.cli.local.supervisor import die_with_parent, replace_file
from mastapi.citadel.v1 import citadel_pb2

READY_SECONDS = 60
LISTEN_SECONDS = 20
_CAPTURE = (
    *("-p", "15001", "-z", "15006", "-g", str(PROXY_ID), "-m", "REDIRECT"),
    *("-i", "*", "-b", "*", "-d", "15090,15021,15020", "--redirect-dns"),
)
_FIRST_OPEN_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_STOP = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Running:
    """A workload that serves: where it is, and its two processes; a gateway's are one."""

    record: Workload
    program: asyncio.subprocess.Process
    agent: asyncio.subprocess.Process


@asynccontextmanager
async def workload(
    home: Home, mesh: Mesh, spec: Spec, *, attached: bool = False
) -> AsyncIterator[Running]:
    """Run ``spec`` as a workload; yields when its proxy is ready and the program listens.

    The program writes to ``logs/NAME.log``, or if ``attached`` to where we write.
    On exit the proxy drains, both processes end, and namespace, link and files are removed.
    CommandError tells what did not come up and where its log is.
    """
    await apply(mesh, objects(spec))
    async with AsyncExitStack() as stack:
        record, place = await stack.enter_async_context(_place(home, mesh, spec))
        folder = home.path("workloads", record.name)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        await _prepare(home, mesh, spec, folder)
        agent = await stack.enter_async_context(
            _child(
                _agent_command(mesh, record, "router" if spec.gateway else "sidecar"),
                {
                    **os.environ,
                    **agent_environment(spec, place, mesh, str(root_file(home))),
                    "TMPDIR": str(folder),
                },
                home.path("logs", f"{record.name}.proxy.log"),
                cwd=folder,
            )
        )
        await _until_ready(home, place, agent)
        if spec.gateway:
            yield _recorded(home, record, agent, agent)
            return
        program = await stack.enter_async_context(
            _child(
                _program_command(mesh, record, spec.command),
                {**os.environ, **program_environment(spec, place, mesh)},
                None if attached else home.path("logs", f"{record.name}.log"),
            )
        )
        await _until_listening(program, _program_port(spec, place))
        yield _recorded(home, record, program, agent)


def _recorded(
    home: Home,
    record: Workload,
    program: asyncio.subprocess.Process,
    agent: asyncio.subprocess.Process,
) -> Running:
    processes = {"agent": Process.of(agent.pid), "program": Process.of(program.pid)}
    record = replace(record, processes={k: v for k, v in processes.items() if v is not None})
    home.record_workload(record)
    return Running(record, program, agent)


@asynccontextmanager
async def _place(home: Home, mesh: Mesh, spec: Spec) -> AsyncIterator[tuple[Workload, Place]]:
    """Reserve a name and addresses, and in namespaces mode the namespace itself."""
    with home.lock():
        taken = {int(w.name.rpartition("-")[2]) for w in home.workloads()}
        number = addresses.workload_number(taken)
        record, place = _reserve(home, mesh, spec, number)
        home.record_workload(record)
    try:
        if mesh.mode == NAMESPACES:
            names = network.Names(home.tag)
            await network.create_namespace(
                names, record.name, number, place.address, addresses.gateway(mesh.subnet)
            )
            network.write_resolver(
                record.namespace_path,
                addresses.gateway(mesh.subnet),
                spec.namespace,
                mesh.trust_domain,
            )
            await (_open_ports(record) if spec.gateway else _capture(mesh, record))
        yield record, place
    finally:
        if mesh.mode == NAMESPACES:
            await network.remove_namespace(record.namespace_path, record.link)
        home.forget_workload(record.name)


def _reserve(home: Home, mesh: Mesh, spec: Spec, number: int) -> tuple[Workload, Place]:
    name = f"{spec.group}-{number}"
    runner = Process.of(os.getpid())
    if runner is None:
        raise CommandError("this system has no /proc; a laptop mesh needs Linux")
    if mesh.mode == LOOPBACK:
        address, outbound = addresses.on_loopback(home.tag, number)
        programs = () if spec.gateway else spec.ports
        app_ports = {p.number: addresses.port("127.0.0.1", 0) for p in programs}
        place = Place(name, address, outbound, app_ports)
    else:
        place = Place(name, addresses.in_subnet(mesh.subnet, number))
    names = network.Names(home.tag)
    record = Workload(
        name=name,
        service=spec.service,
        version=spec.version,
        namespace=spec.namespace,
        address=place.address,
        outbound=place.outbound,
        ports=tuple(p.served for p in spec.ports),
        runner=runner,
        namespace_path=names.namespace(name) if mesh.mode == NAMESPACES else "",
        link=names.link(number) if mesh.mode == NAMESPACES else "",
    )
    return record, place


async def _capture(mesh: Mesh, record: Workload) -> None:
    """Apply the rules of a pod inside the namespace (citadel-and-agent.md C)."""
    await _set_up(record, "traffic capture", *_agent("istio-iptables"), *_CAPTURE)


async def _open_ports(record: Workload) -> None:
    """Let the proxy of a gateway, which has no privileges, listen on any port."""
    await _set_up(record, "opening ports", "sh", "-c", f"echo 0 > {_FIRST_OPEN_PORT}")


async def _set_up(record: Workload, what: str, *command: str) -> None:
    """Run a command inside the namespace; CommandError holds what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *_inside(record),
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        text = output.decode().strip()[-400:]
        raise CommandError(f"{what} for {record.name} failed: {text}")


async def _prepare(home: Home, mesh: Mesh, spec: Spec, folder: Path) -> None:
    """Make the agent's directory with the secret for its first certificate."""
    request = citadel_pb2.CreateJoinTokenRequest(
        namespace=spec.namespace, service_account=spec.account
    )
    async with citadel_admin(mesh) as citadel:
        token = await citadel.CreateJoinToken(request, timeout=10)
        # The CA may have another root since the mesh was started.
        bundle = await citadel.GetBundle(citadel_pb2.GetBundleRequest(), timeout=10)
    replace_file(root_file(home), bundle.roots_pem, 0o644)
    secret = folder / "var/run/secrets/tokens/istio-token"
    secret.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token.token)
    if mesh.mode == NAMESPACES:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, mesh.proxy_user, PROXY_ID)
    folder.chmod(0o700)


def _agent(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "mast.agent", *arguments)


def _agent_command(mesh: Mesh, record: Workload, role: str) -> tuple[str, ...]:
    domain = f"{record.namespace}.svc.{mesh.trust_domain}"
    line = _agent("proxy", role, "--domain", domain)
    return line if mesh.mode == LOOPBACK else (*_inside(record), *as_proxy(mesh), *line)


def _program_command(mesh: Mesh, record: Workload, command: Sequence[str]) -> tuple[str, ...]:
    if mesh.mode == LOOPBACK:
        return tuple(command)
    return (*_inside(record), *as_program(), *command)


def _inside(record: Workload) -> tuple[str, ...]:
    return ("ip", "netns", "exec", record.namespace_path)


@asynccontextmanager
async def _child(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path | None,
    cwd: Path | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that writes to ``log``, or to where we write.

    On exit SIGTERM, and SIGKILL when patience is over.
    """
    with ExitStack() as files:
        output = files.enter_context(log.open("ab")) if log else None
        try:
            child = await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                cwd=cwd,
                stdin=None if output is None else asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise CommandError(f"cannot run {command[0]}: {error.strerror}") from error
    try:
        yield child
    finally:
        await _end(child)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP.total_seconds()):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def _program_port(spec: Spec, place: Place) -> int | None:
    if not spec.ports:
        return None
    number = spec.ports[0].number
    return place.app_ports.get(number, number)


async def _until_listening(program: asyncio.subprocess.Process, port: int | None) -> None:
    """Wait until somebody in the program's network listens on its port, or the program ended.

    A program that takes longer goes on: the mesh sends it traffic once it accepts connections.
    """
    if port is None:
        return
    wanted = f":{port:04X} "
    with suppress(TimeoutError):
        async with asyncio.timeout(LISTEN_SECONDS):
            while program.returncode is None and not _listens(program.pid, wanted):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def _listens(pid: int, wanted: str) -> bool:
    """Whether proc(5) net/tcp or net/tcp6 shows a socket in state LISTEN (0A) on the port."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if state == "0A" and f"{local} ".endswith(wanted):
                    return True
    return False


async def _until_ready(home: Home, place: Place, agent: asyncio.subprocess.Process) -> None:
    url = f"http://{place.address}:15020/healthz/ready"
    log = home.path("logs", f"{place.name}.proxy.log")
    last = "no answer yet"
    try:
        async with (
            asyncio.timeout(READY_SECONDS),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
        ):
            while True:
                if agent.returncode is not None:
                    raise CommandError(
                        f"the proxy of {place.name} ended with status {agent.returncode}",
                        hint=f"see {log}",
                    )
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                        last = (await answer.text()).strip()
                except (aiohttp.ClientError, TimeoutError) as error:
                    last = str(error) or type(error).__name__
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise CommandError(
            f"the proxy of {place.name} is not ready after {READY_SECONDS} s: {last}",
            hint=f"see {log}",
        ) from None
