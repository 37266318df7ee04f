"""A real agent with a real Envoy as a child process of a test."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.agent.control_plane import TOKEN, ControlPlane

START_SECONDS = 40
_INHERITED = ("PATH", "PYTHONPYCACHEPREFIX", "SSL_CERT_FILE")

_CHANCE = random.SystemRandom()


def loopback() -> str:
    """A loopback address that nobody else uses: several agents take the same ports."""
    return f"127.{_CHANCE.randint(16, 250)}.{_CHANCE.randint(0, 255)}.{_CHANCE.randint(2, 250)}"


@dataclass(eq=False, kw_only=True)
class RunningAgent:
    """An agent process, its log, and its ports at ``address``."""

    process: asyncio.subprocess.Process
    address: str
    directory: Path
    http: aiohttp.ClientSession
    log: list[dict[str, Any]] = field(default_factory=list)
    _logged: asyncio.Event = field(default_factory=asyncio.Event)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Everything logged so far under an event name."""
        return [each for each in self.log if each.get("event") == name]

    async def logged(
        self, name: str, condition: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """The first log entry of an event that meets a condition, as soon as there is one."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                for each in self.events(name):
                    if condition(each):
                        return each
                self._logged.clear()
                await self._logged.wait()

    async def get(self, port: int, path: str) -> tuple[int, str]:
        """Status and text of a page; status 0 if nobody answers."""
        return await self.call("GET", port, path)

    async def call(self, method: str, port: int, path: str) -> tuple[int, str]:
        """The same for any method."""
        url = f"http://{self.address}:{port}{path}"
        try:
            async with self.http.request(method, url) as response:
                return response.status, await response.text()
        except aiohttp.ClientError as error:
            return 0, str(error)

    async def until(self, port: int, path: str, condition: Callable[[int, str], bool]) -> str:
        """The text of a page once it meets a condition."""
        last: tuple[int, str] = (0, "not asked")
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    last = await self.get(port, path)
                    if condition(*last):
                        return last[1]
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{port}{path}: last {last}; log {self.log[-15:]}") from None

    async def ready(self) -> None:
        """Wait until Envoy's readiness port says so."""
        await self.until(15021, "/healthz/ready", lambda status, _: status == 200)

    async def stat(self, name: str) -> int:
        """A statistic of Envoy; -1 if it does not exist."""
        _, text = await self.get(15000, f"/stats?filter=^{name}$")
        return int(text.rpartition(": ")[2]) if text.strip() else -1

    async def envoy_pid(self) -> int:
        """Process ID of the Envoy started last."""
        await self.logged("envoy.started")
        return int(self.events("envoy.started")[-1]["pid"])

    async def ended(self) -> int:
        """Exit status of the agent."""
        async with asyncio.timeout(30):
            return await self.process.wait()

    async def read_log(self) -> None:
        """Collect log lines until the agent ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                entry = {"event": "raw", "line": line.decode()}
            self.log.append(entry)
            self._logged.set()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in {"Z", "X"}


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(10):
        while alive(pid):  # noqa: ASYNC110 - a process of somebody else gives no event
            await asyncio.sleep(0.02)


def inherited() -> dict[str, str]:
    """What an agent of a test has of the test's own variables."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def environment(plane: ControlPlane, address: str, **more: str) -> dict[str, str]:
    """Variables of an agent in a process of its own, without capture."""
    return {
        **inherited(),
        "INSTANCE_IP": address,
        "MAST_BIND_ADDRESS": address,
        "POD_NAME": "reviews-1",
        "POD_NAMESPACE": "shop",
        "SERVICE_ACCOUNT": "reviews",
        "CA_ADDR": plane.address,
        "PROXY_CONFIG": json.dumps(
            {"discoveryAddress": plane.address, "terminationDrainDuration": "1s"}
        ),
        "ISTIO_META_INTERCEPTION_MODE": "NONE",
        "ISTIO_META_CLUSTER_ID": "laptop",
        **more,
    }


def furnish(directory: Path, plane: ControlPlane, *, token: str = TOKEN) -> None:
    """Put the files into a working directory that an agent needs: token and root."""
    secrets = directory / "var/run/secrets"
    (secrets / "tokens").mkdir(parents=True)
    (secrets / "tokens/istio-token").write_text(token)
    (secrets / "istio").mkdir()
    (secrets / "istio/root-cert.pem").write_bytes(plane.root.pem)


@asynccontextmanager
async def agent(
    directory: Path,
    env: Mapping[str, str],
    *,
    arguments: Sequence[str] = ("--concurrency", "1", "--log_output_level", "debug"),
    prefix: Sequence[str] = (),
) -> AsyncIterator[RunningAgent]:
    """Run ``mast-agent proxy sidecar`` in a directory; killed, with its Envoy, at the end."""
    program = Path(sys.executable).with_name("mast-agent")
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *(str(program), "proxy", "sidecar", *arguments),
        cwd=directory,
        env=dict(env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1 << 20,
    )
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
        asyncio.TaskGroup() as tasks,
    ):
        running = RunningAgent(
            process=process, address=env["INSTANCE_IP"], directory=directory, http=http
        )
        tasks.create_task(running.read_log(), name="agent-log")
        try:
            yield running
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    async with asyncio.timeout(15):
                        await process.wait()
                except TimeoutError:
                    process.kill()
            await process.wait()
