"""A Mixer for policy alone, started by flags of Istio (mixer.md I)."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from istio.mixer.v1 import mixer_pb2
from mast.mixer.api import access_log, ext_authz, mixer
from tests.integration.mixer import process
from tests.integration.mixer.conftest import Apply
from tests.support.etcd_server import EtcdServer
from tests.support.mixer_config import TELEMETRY
from tests.support.service_process import ServiceProcess
from tests.support.until import until

DENY = """
kind: handler
metadata: {name: denyall}
spec: {compiledAdapter: denier}
---
kind: instance
metadata: {name: nothing}
spec: {compiledTemplate: checknothing}
---
kind: rule
metadata: {name: deny}
spec: {actions: [{handler: denyall, instances: [nothing]}]}
---
"""


async def test_a_mixer_for_policy_only(etcd: EtcdServer, apply: Apply, tmp_path: Path) -> None:
    """It answers checks, takes no reports, builds no handler and opens no port for them."""
    await apply(TELEMETRY, DENY)
    ready = tmp_path / "ready"
    flags = ("--role", "policy", "--readinessProbePath", ready, "--numCheckCacheEntries=0")
    async with process.mixer(etcd.endpoint, flags) as running, process.client(running) as stub:
        answer = await stub.Check(process.check_request({}), timeout=30)
        assert answer.precondition.status.message.startswith("denyall.istio-system")
        report = stub.Report(mixer_pb2.ReportRequest(attributes=[{}]), timeout=30)
        assert await report.code() is grpc.StatusCode.UNIMPLEMENTED
        for service, status in (
            (mixer.SERVICE, "SERVING"),
            (ext_authz.SERVICE, "SERVING"),
            (access_log.SERVICE, "NOT_FOUND"),
        ):
            assert await health(running, service) == status
        assert json.loads((await running.get("/ready"))[1])["role"] == "policy"
        built = {line["adapter"] for line in running.log if line["event"] == "handler.built"}
        assert built == {"denier", "kubernetesenv"}
        opened = {line["name"] for line in running.log if line["event"] == "service.listening"}
        assert opened == {"monitoring", "grpc"}
        await running.logged("flag.without_effect", flag="--numCheckCacheEntries")
        await until(ready.exists)
        metrics = (await running.get("/metrics"))[1]
        for name in ("mixer_config_rule_configs_total 7", "process_cpu_seconds_total "):
            assert f"\n{name}" in metrics
        assert await running.stop() == 0
    assert not ready.exists()


async def health(running: ServiceProcess, service: str) -> str:
    """What a health check of a service is answered."""
    async with grpc.aio.insecure_channel(await running.address("grpc")) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await stub.Check(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
