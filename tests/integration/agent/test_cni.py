"""The CNI plugin on a node: called as the runtime calls it, for pods with network namespaces (C6).

The API server is a fake that speaks real HTTP; kernel, rules and the check of capture are real.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mast.agent.cni_command import serve
from mast.agent.cni_config import CniConfig
from mast.common.kubernetes.objects import NAMESPACES, PODS, Object
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.integration.agent.capture_site import needs_root
from tests.integration.agent.namespaces import run
from tests.support.etcd_server import free_port
from tests.support.until import until

pytestmark = [*needs_root]

NODE = "node-1"
CAPTURED, UNCAPTURED = 0, 126
PREVIOUS = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}]}


def pod(name: str, **annotations: str) -> Object:
    """A pod as the injector leaves it with CNI; the image of each container does not matter."""
    names = ("web", "istio-proxy")
    return {
        "metadata": {
            "name": name,
            "annotations": {"sidecar.istio.io/status": "{}", **annotations},
        },
        "spec": {
            "nodeName": NODE,
            "initContainers": [{"name": "istio-validation", "image": "mast"}],
            "containers": [{"name": each, "image": each} for each in names],
        },
    }


@contextmanager
def network() -> Iterator[str]:
    """The name of a network namespace, as a pod gets one."""
    name = f"mt-{secrets.token_hex(4)}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        run("ip", "netns", "del", name)


async def validation(network: str) -> int:
    """How the container istio-validation ends in a network namespace."""
    words = ["istio-iptables", "-b", "*", "-i", "*", "--run-validation", "--skip-rule-apply"]
    command = ["ip", "netns", "exec", network, sys.executable, "-m", "mast.agent", *words]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    return await process.wait()


def rules(network: str) -> str:
    """What is programmed there."""
    return run("ip", "netns", "exec", network, "iptables-nft-save", "-t", "nat")


async def page(address: str, path: str) -> tuple[int, str]:
    url = f"http://{address}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


@dataclass
class Node:
    """A node with an agent; ``configuration`` is where the runtime looks."""

    cluster: Cluster
    directory: Path
    config: CniConfig

    @property
    def configuration(self) -> Path:
        return self.directory / "net.d" / "10-net.conflist"

    @property
    def plugins(self) -> list[Object]:
        found: list[Object] = json.loads(self.configuration.read_text())["plugins"]
        return found

    async def call(self, command: str, name: str, network: str) -> tuple[int, Any]:
        """Call the last plugin of the list, as the runtime does; its status and answer."""
        entry = {**self.plugins[-1], "name": "net", "cniVersion": "1.0.0"}
        process = await asyncio.create_subprocess_exec(
            str(self.directory / "bin" / entry["type"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": secrets.token_hex(8),
                "CNI_NETNS": f"/var/run/netns/{network}",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": str(self.directory / "bin"),
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name}",
            },
        )
        config = json.dumps({**entry, "prevResult": PREVIOUS})
        out, _ = await process.communicate(config.encode())
        return process.returncode or 0, json.loads(out) if out else None

    def pod(self, name: str, **annotations: str) -> Object:
        return self.cluster.objects.create(PODS, "shop", pod(name, **annotations))

    def runs(self, found: Object, network: str) -> None:
        """Give a pod a process that is in a network namespace."""
        process = self.directory / "proc" / str(secrets.randbelow(10**6))
        (process / "ns").mkdir(parents=True)
        (process / "cgroup").write_text(f"0::/kubepods/pod{found['metadata']['uid']}/x\n")
        (process / "ns" / "net").symlink_to(f"/var/run/netns/{network}")

    def broken(self, name: str) -> None:
        """The check of a pod's capture fails."""
        state = {"terminated": {"exitCode": UNCAPTURED}}
        status = {"name": "istio-validation", "state": state, "ready": False, "restartCount": 0,
                  "image": "mast", "imageID": ""}  # fmt: skip
        found = self.cluster.objects.get(PODS, "shop", name)
        found["status"] = {"phase": "Pending", "initContainerStatuses": [status]}
        self.cluster.objects.update(PODS, "shop", name, found, subresource="status")


@asynccontextmanager
async def node(tmp_path: Path, **settings: Any) -> AsyncIterator[Node]:
    for name in ("bin", "net.d", "proc"):
        (tmp_path / name).mkdir()
    plugins = [{"type": "bridge"}]
    original = json.dumps({"name": "net", "cniVersion": "1.0.0", "plugins": plugins})
    async with api_server() as cluster:
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        (tmp_path / "kubeconfig").write_text(cluster.kubeconfig())
        config = CniConfig(
            cni_bin_dir=tmp_path / "bin",
            cni_conf_dir=tmp_path / "net.d",
            socket=tmp_path / "run" / "plugin.sock",
            interpreter=sys.executable,
            kubeconfig=tmp_path / "kubeconfig",
            proc_dir=tmp_path / "proc",
            health_listen=f"127.0.0.1:{free_port()}",
            monitoring_listen=f"127.0.0.1:{free_port()}",
            **settings,
        )
        found = Node(cluster, tmp_path, config)
        found.configuration.write_text(original)
        stop = asyncio.Event()
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(config, stop), name="agent of the node")
            await until(lambda: len(found.plugins) == 2)
            yield found
            stop.set()
        assert found.plugins == plugins, "what is not there any more keeps no pod from starting"


async def test_pods_are_captured_when_the_runtime_calls(
    tmp_path: Path,
) -> None:
    async with node(tmp_path) as here:
        with network() as web, network() as plain:
            here.pod("web", **{"traffic.sidecar.istio.io/excludeInboundPorts": "8081"})
            here.cluster.objects.create(
                PODS,
                "shop",
                {"metadata": {"name": "plain"}, "spec": pod("plain")["spec"]},
            )
            assert await validation(web) == UNCAPTURED
            assert (await here.call("CHECK", "web", web))[0] == 1
            assert await here.call("ADD", "web", web) == (0, PREVIOUS)
            assert await here.call("CHECK", "web", web) == (0, None)
            assert await validation(web) == CAPTURED
            assert "--dport 8081 -j RETURN" in rules(web)
            assert await here.call("ADD", "plain", plain) == (0, PREVIOUS)
            assert "ISTIO" not in rules(plain), "it has no proxy"
            status, answer = await here.call("ADD", "web", "nowhere")
            assert (status, answer["code"]) == (1, 11)
            assert "shop/web" in answer["msg"]
            assert await here.call("DEL", "web", web) == (0, None)
        assert await page(here.config.health_listen, "/readyz") == (200, "ok\n")
        _, metrics = await page(here.config.monitoring_listen, "/metrics")
        for line in (
            'istio_cni_installs_total{result="SUCCESS"} 1',
            "istio_cni_install_ready 1",
            'mast_cni_calls_total{command="ADD",result="success"} 1',
            'mast_cni_calls_total{command="ADD",result="skip"} 1',
            'mast_cni_calls_total{command="ADD",result="fail"} 1',
        ):
            assert line in metrics


async def test_pods_that_began_without_are_repaired(
    tmp_path: Path,
) -> None:
    """One whose network namespace is found is captured, another one is labelled."""
    async with node(tmp_path, node_name=NODE, label_pods=True) as here:
        with network() as web:
            here.runs(here.pod("web"), web)
            here.pod("lost")
            here.broken("web")
            here.broken("lost")

            def labels() -> dict[str, str]:
                found = here.cluster.objects.get(PODS, "shop", "lost")["metadata"]
                return dict(found.get("labels") or {})

            async def programmed() -> bool:
                return "ISTIO_REDIRECT" in await asyncio.to_thread(rules, web)

            await until(lambda: labels() == {"cni.istio.io/uninitialized": "true"})
            await until(programmed)
            assert await validation(web) == CAPTURED


async def test_pods_that_began_without_are_deleted_if_that_is_wanted(
    tmp_path: Path,
) -> None:
    settings = {"node_name": NODE, "repair_pods": False, "delete_pods": True}
    async with node(tmp_path, **settings) as here:
        here.pod("other")
        here.pod("web")
        here.broken("web")

        await until(lambda: here.cluster.asked("DELETE /api/v1/namespaces/shop/pods/web") == 1)
        assert here.cluster.asked("DELETE ") == 1
