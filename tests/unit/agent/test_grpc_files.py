"""Files that gRPC libraries of the application read (pilot.md B29)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mast.agent.config import Config, Flags
from mast.agent.core.node import Node
from mast.agent.store import grpc_files
from mast.agent.store.inputs import gather


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    monkeypatch.chdir(tmp_path)
    env = {"POD_NAME": "web-1", "POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.1"}
    return gather(Flags(), env).node


def test_the_bootstrap_is_there_while_the_agent_is(node: Node, tmp_path: Path) -> None:
    config = Config(grpc_bootstrap="etc/grpc.json", output_certs="certs")
    with grpc_files.bootstrap_file(config, node, "XDS"):
        made = json.loads((tmp_path / "etc/grpc.json").read_text())
    (pilot,) = made["xds_servers"]
    assert pilot["server_uri"] == f"unix://{tmp_path}/XDS"
    assert pilot["server_features"] == ["xds_v3"]
    assert made["node"]["id"] == node.id
    assert made["node"]["metadata"]["GENERATOR"] == "grpc"
    template = made["server_listener_resource_name_template"]
    assert template == "xds.istio.io/grpc/lds/inbound/%s"
    assert made["certificate_providers"]["default"] == {
        "plugin_name": "file_watcher",
        "config": {
            "certificate_file": f"{tmp_path}/certs/cert-chain.pem",
            "private_key_file": f"{tmp_path}/certs/key.pem",
            "ca_certificate_file": f"{tmp_path}/certs/root-cert.pem",
            "refresh_interval": "900s",
        },
    }
    assert not (tmp_path / "etc/grpc.json").exists()


def test_without_certificates_there_is_no_provider(node: Node, tmp_path: Path) -> None:
    with grpc_files.bootstrap_file(Config(grpc_bootstrap="grpc.json"), node, "XDS"):
        assert "certificate_providers" not in json.loads((tmp_path / "grpc.json").read_text())


def test_nobody_asked(node: Node, tmp_path: Path) -> None:
    with grpc_files.bootstrap_file(Config(), node, "XDS"):
        assert list(tmp_path.iterdir()) == []
    assert grpc_files.missing(Config()) == ()


def test_missing(node: Node, tmp_path: Path) -> None:
    config = Config(grpc_bootstrap="grpc.json", output_certs="certs")
    assert grpc_files.missing(config) == [
        "there is no grpc.json yet",
        "there is no certs/cert-chain.pem yet",
    ]
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/cert-chain.pem").write_text("")
    with grpc_files.bootstrap_file(config, node, "XDS"):
        assert grpc_files.missing(config) == []
