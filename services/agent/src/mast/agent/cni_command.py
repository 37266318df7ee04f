"""`mast-agent cni`: the agent of a node behind the CNI plugin (wiring; C6)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from functools import partial

import structlog
from aiohttp import web

from mast.agent.api.cni import Call, plugin_socket
from mast.agent.cni_config import CniConfig
from mast.agent.core.cni.conf import PLUGIN
from mast.agent.core.cni.pods import arguments, reason_to_skip
from mast.agent.store.cni import netns
from mast.agent.store.cni.install import Installation
from mast.agent.store.cni.pods import Repair, pod
from mast.common.kubernetes import Access, Api, ApiFailure, connect, in_cluster, kubeconfig
from mast.common.process.lifecycle import run
from mast.common.process.monitoring import Readiness, http_server, monitoring
from mast.common.process.settings import parse
from mast.common.process.telemetry import Metrics, configure_logging

log = structlog.get_logger()


def cni(argv: Sequence[str]) -> int:
    """Serve the plugin of this node until SIGTERM."""
    config = parse(CniConfig, argv, os.environ, prefix="CNI", prog="mast-agent cni")
    configure_logging("cni", config.log_level, config.log_format)
    run(partial(serve, config))
    return 0


async def serve(config: CniConfig, stop: asyncio.Event) -> None:
    """Keep the plugin installed and answer it; at the end take it away, so that pods start."""
    metrics = Metrics("cni")
    async with connect(_access(config)) as api:
        node = Node(config, api, metrics)
        async with (
            monitoring(config.monitoring_listen, ready=node.readiness, metrics=metrics),
            http_server(config.health_listen, {"/readyz": node.readyz}, name="health"),
            plugin_socket(config.socket_here or config.socket, node.answer),
            asyncio.TaskGroup() as tasks,
        ):
            repair = tasks.create_task(node.repair(), name="cni repair")
            # The socket outlives our entry: who is called is answered.
            await node.installation.keep(stop, node.told)
            repair.cancel()


def _access(config: CniConfig) -> Access:
    if config.kubeconfig is None:
        return in_cluster(os.environ)
    return kubeconfig(config.kubeconfig.read_text(), base=config.kubeconfig.parent)


class Node:
    """The parts of one process."""

    def __init__(self, config: CniConfig, api: Api, metrics: Metrics) -> None:
        self._config = config
        self._api = api
        self._missing = "not looked yet"
        self._installs = metrics.counter("istio_cni_installs_total", "Installations by result")
        self._ready = metrics.gauge("istio_cni_install_ready", "Whether the plugin is installed")
        self._repaired = metrics.counter(
            "istio_cni_repair_pods_repaired_total", "Pods without capture, by remedy and result"
        )
        self._added = metrics.counter("mast_cni_calls_total", "Calls of the plugin by result")
        self._seconds = metrics.histogram("mast_cni_call_seconds", "How long calls took")
        self.installation = Installation(
            programs=config.cni_bin_dir,
            configurations=config.cni_conf_dir,
            interpreter=config.interpreter,
            entry={
                "type": PLUGIN,
                "socket": str(config.socket),
                "exclude_namespaces": list(config.exclude_namespaces),
            },
        )

    def readiness(self) -> Readiness:
        """Ready while the plugin is where the runtime looks for it."""
        return Readiness(not self._missing, {"installation": self._missing or "in place"})

    async def readyz(self, _: web.Request) -> web.Response:
        """200 while the plugin is in place, else 503 and what is missing."""
        return web.Response(text=f"{self._missing or 'ok'}\n", status=503 if self._missing else 200)

    async def repair(self) -> None:
        """Mend pods of this node, for ever."""
        config = self._config
        if not config.node_name or not config.remedies:
            return
        repair = Repair(
            api=self._api,
            node=config.node_name,
            remedies=config.remedies,
            label=(config.label_key, config.label_value),
            excluded=config.exclude_namespaces,
            native_nftables=config.native_nftables,
            proc=config.proc_dir,
            report=lambda remedy, result: self._repaired.add(type=str(remedy), result=result),
        )
        await repair.run()

    async def answer(self, call: Call) -> str:
        """Do what the plugin was called for; "" or why not."""
        begun = time.monotonic()
        facts = {"namespace": call.namespace, "pod": call.name}
        try:
            result = await self._capture(call)
        except (ApiFailure, netns.CaptureFailed, ValueError) as error:
            log.error("cni.failed", command=call.command, error=str(error), **facts)
            self._added.add(result="fail", command=call.command)
            return f"{call.namespace}/{call.name}: {error}"
        self._added.add(result=result, command=call.command)
        self._seconds.record(time.monotonic() - begun, command=call.command)
        return ""

    async def _capture(self, call: Call) -> str:
        if call.command == "STATUS":
            return "success"
        found = await pod(self._api, call.namespace, call.name)
        facts = {"namespace": call.namespace, "pod": call.name}
        skipped = reason_to_skip(found, self._config.exclude_namespaces)
        if skipped:
            log.info("cni.skipped", reason=skipped, **facts)
            return "skip"
        flags = arguments(found, native_nftables=self._config.native_nftables)
        await netns.program(call.netns, flags if call.command == "ADD" else [*flags, "--compare"])
        log.info("cni.captured", command=call.command, **facts)
        return "success"

    def told(self, missing: str) -> None:
        """Note what the installation lacks, "" if nothing."""
        if missing == self._missing:
            return
        self._missing = missing
        self._ready.set(0 if missing else 1)
        self._installs.add(result="FAILURE" if missing else "SUCCESS")
        if missing:
            log.warning("cni.not_installed", missing=missing)
