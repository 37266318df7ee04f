"""mastctl workload against a Galley: a stored group, the mesh's settings, a gateway's address."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.etcd_server import etcd_server
from tests.support.galley_server import RunningGalley, galley_server

OBJECTS = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata:
  name: web
  namespace: shop
  annotations: {proxy.istio.io/config: "concurrency: 3"}
spec: {template: {serviceAccount: web, ports: {http: 8080}}}
---
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  rootNamespace: istio-system
  trustDomain: example.org
  defaultConfig: {discoveryAddress: "istiod.istio-system.svc:15012", concurrency: 1}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: eastwest, namespace: gateways}
spec:
  hosts: [eastwest.gateways.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 15012, name: tls, protocol: TLS}]
  endpoints: [{address: 192.0.2.9}]
"""


async def configure(galley: RunningGalley, folder: Path, *arguments: str) -> tuple[int, str]:
    """Status and complaints of ``workload entry configure``."""
    (folder / "token").write_text("TOKEN")
    given = ("--token", str(folder / "token"), "--root-cert", str(folder / "token"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mast.cli.main", "workload", "entry", "configure"),
        *("--server", f"unix:{galley.config.admin_socket}", "-o", str(folder / "vm")),
        *(*given, *arguments),
        env={**os.environ, "MAST_HOME": str(folder / "home")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_stored_group(tmp_path: Path) -> None:
    async with etcd_server(tmp_path) as etcd, galley_server(tmp_path, etcd.endpoint) as galley:
        await galley.apply(OBJECTS)
        wanted = ("--name", "web", "--namespace", "shop")
        status, said = await configure(
            galley, tmp_path, *wanted, "--ingressService", "eastwest.gateways"
        )
        assert status == 0, said
        files = tmp_path / "vm"
        assert (files / "hosts").read_text() == "192.0.2.9 istiod.istio-system.svc\n"
        config = yaml.safe_load((files / "mesh.yaml").read_text())["defaultConfig"]
        assert config["concurrency"] == 3, "the group's annotation wins"
        assert config["proxyMetadata"]["TRUST_DOMAIN"] == "example.org"
        assert "ISTIO_INBOUND_PORTS='8080'" in (files / "cluster.env").read_text()
        for arguments, problem in (
            (("--name", "other", "--namespace", "shop"), "there is no WorkloadGroup 'other'"),
            ((*wanted, "--ingressService", "none"), "no ServiceEntry istio-system/none"),
        ):
            status, said = await configure(galley, tmp_path, *arguments)
            assert (status, problem in said) == (1, True), said


@pytest.fixture(autouse=True)
def short_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Complaints are one line here, however long they are."""
    monkeypatch.setenv("COLUMNS", "200")
