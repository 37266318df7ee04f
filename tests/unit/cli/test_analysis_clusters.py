"""analyze --remote-contexts: Services of several clusters side by side (A8, IST0170)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml
from typer.testing import CliRunner

from mast.cli.main import app
from mast.common.kubernetes.objects import NAMESPACES
from tests.fakes.kubernetes.kinds import SERVICES
from tests.fakes.kubernetes.server import api_server


async def test_clusters_of_contexts_are_compared(tmp_path: Path) -> None:
    async with api_server() as main, api_server() as east:
        contexts, clusters = [], []
        for name, server, port in (("main", main, 80), ("east", east, 8080)):
            server.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
            for service, number in (("web", port), ("same", 80)):
                spec = {"ports": [{"name": "http", "port": number}]}
                body = {"metadata": {"name": service}, "spec": spec}
                server.objects.create(SERVICES, "shop", body)
            (cluster,) = yaml.safe_load(server.kubeconfig())["clusters"]
            clusters.append({**cluster, "name": name})
            contexts.append({"name": name, "context": {"cluster": name, "user": "admin"}})
        users = [{"name": "admin", "user": {"token": "admin-token"}}]
        whole = {"contexts": contexts, "clusters": clusters, "users": users}
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(whole))
        command = ["analyze", "-A", "--kubeconfig", str(file), "--remote-contexts", "main,east"]
        ended = await asyncio.to_thread(CliRunner().invoke, app, command)
    (told,) = [line for line in ended.stdout.splitlines() if "IST0170" in line]
    assert told == (
        "Warning [IST0170] (Service shop/web) ports of web.shop.svc.cluster.local differ by"
        " cluster: east: 8080 (http HTTP); main: 80 (http HTTP)"
    )
