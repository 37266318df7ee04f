"""Runs what the chart renders, on this machine: a kubelet as far as our pods need one.

Volumes become directories, addresses of the cluster loopback ones. Everything else of a command
line is the chart's.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from mast.cli.etcd_commands import commands
from mast.common.kubernetes.objects import CONFIG_MAPS, SECRETS, Object, Resource
from tests.fakes.kubernetes.server import Cluster
from tests.fakes.kubernetes.status import Status
from tests.support.chart import NAMESPACE, containers, named
from tests.support.service_process import ServiceProcess, forked_service
from tests.support.until import until

_LISTEN = re.compile(r"(--(?:[a-z]+-)?listen)=.*")


@dataclass
class Kubelet:
    """``addresses`` are of flags: where on this machine what they name is."""

    cluster: Cluster
    found: list[Object]
    directory: Path
    addresses: dict[str, str] = field(default_factory=dict)

    async def job(self, name: str, *more: str) -> str:
        """Why a Job of mastctl failed, "" if it did not; ``more`` are flags."""
        pod = named(self.found, name)["spec"]["template"]
        (container,) = containers(pod)
        group, *arguments = self.arguments(container["args"], {})
        assert group == "etcd"
        access = self.kubeconfig(pod["spec"]["serviceAccountName"])
        line = [arguments[0], f"--kubeconfig={access}", *arguments[1:], *more]
        result = await asyncio.to_thread(CliRunner().invoke, commands, line)
        return f"{result.output} {result.exception}" if result.exit_code else ""

    @asynccontextmanager
    async def service(self, name: str, program: str) -> AsyncIterator[ServiceProcess]:
        """A Deployment's container as a process, once its volumes can be mounted."""
        pod = named(self.found, f"Deployment/{name}")["spec"]["template"]
        (container,) = containers(pod)
        mounts = await self._mounted(name, pod)
        where = {each["mountPath"]: mounts[each["name"]] for each in container["volumeMounts"]}
        arguments = self.arguments(container["args"], where)
        if pod["spec"]["automountServiceAccountToken"]:
            access = self.kubeconfig(pod["spec"]["serviceAccountName"])
            arguments = [
                f"--kubeconfig={access}" if each == "--in-cluster=true" else each
                for each in arguments
            ]
        async with forked_service(program, *arguments) as running:
            yield running

    def arguments(self, given: list[str], mounts: Mapping[str, Path]) -> list[str]:
        """A command line as it is here."""
        return [self._here(_LISTEN.sub(r"\1=127.0.0.1:0", each), mounts) for each in given]

    def _here(self, argument: str, mounts: Mapping[str, Path]) -> str:
        flag, _, value = argument.partition("=")
        if flag in self.addresses:
            return f"{flag}={self.addresses[flag]}"
        for path, place in mounts.items():
            if value == path or value.startswith(f"{path}/"):
                return f"{flag}={place}{value.removeprefix(path)}"
        return argument

    def kubeconfig(self, account: str) -> Path:
        """How a pod of the account reaches the API server."""
        path = self.directory / f"{account}.kubeconfig"
        token = self.cluster.callers.token(NAMESPACE, account)
        path.write_text(self.cluster.kubeconfig(token))
        return path

    async def _mounted(self, name: str, pod: Object) -> Mapping[str, Path]:
        """Directories of volumes; waits for what a pod would wait for."""
        found = {}
        for volume in pod["spec"]["volumes"]:
            place = self.directory / name / volume["name"]
            place.mkdir(parents=True)
            found[volume["name"]] = place
            for file, content in await self._content(volume, pod):
                (place / file).write_bytes(content)
                (place / file).chmod(0o400)
        return found

    async def _content(self, volume: Object, pod: Object) -> list[tuple[str, bytes]]:
        if "emptyDir" in volume:
            return []
        if "projected" in volume:
            return list(self._token(volume, pod["spec"]["serviceAccountName"]))
        kind, source = ("secret", "secretName") if "secret" in volume else ("configMap", "name")
        resource = SECRETS if kind == "secret" else CONFIG_MAPS
        wanted = volume[kind][source]
        if not volume[kind].get("optional"):
            await until(lambda: self.get(resource, wanted) is not None)
        data = (self.get(resource, wanted) or {}).get("data", {})
        if kind == "secret":
            return [(key, base64.b64decode(value)) for key, value in data.items()]
        return [(key, value.encode()) for key, value in data.items()]

    def _token(self, volume: Object, account: str) -> Iterator[tuple[str, bytes]]:
        for source in volume["projected"]["sources"]:
            wanted = source["serviceAccountToken"]
            token = self.cluster.callers.token(NAMESPACE, account, (wanted["audience"],))
            yield wanted["path"], token.encode()

    def get(self, resource: Resource, name: str, namespace: str = NAMESPACE) -> Any:
        """An object, None if it is not there."""
        try:
            return self.cluster.objects.get(resource, namespace, name)
        except Status:
            return None
