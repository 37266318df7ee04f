"""Configuration a laptop mesh starts with, and how mastctl puts objects into Galley."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from mast.cli.connect import galley
from mast.cli.local.home import Mesh
from mast.cli.local.plan import SERVICE_ACCOUNTS, SYSTEM_NAMESPACE
from mastapi.galley.v1 import config_pb2

POLICY_HOST = f"istio-policy.{SYSTEM_NAMESPACE}.svc.cluster.local"
TELEMETRY_HOST = f"istio-telemetry.{SYSTEM_NAMESPACE}.svc.cluster.local"
MIXER_PORT = 15004


def mesh_config(**spec: Any) -> dict[str, Any]:
    """The MeshConfig object of a laptop mesh; ``spec`` adds to it or replaces parts of it."""
    return {
        "apiVersion": "mesh.istio.io/v1alpha1",
        "kind": "MeshConfig",
        "metadata": {"name": "default", "namespace": SYSTEM_NAMESPACE},
        "spec": {
            "rootNamespace": SYSTEM_NAMESPACE,
            "mixerCheckServer": f"{POLICY_HOST}:{MIXER_PORT}",
            "mixerReportServer": f"{TELEMETRY_HOST}:{MIXER_PORT}",
            "disablePolicyChecks": True,
            "reportBatchMaxTime": "1s",
            **spec,
        },
    }


def mixer_services(mesh: Mesh) -> list[dict[str, Any]]:
    """Mixer's two service names at the Mixers that answer for them, over mutual TLS."""
    account = SERVICE_ACCOUNTS["mixer"]
    identity = f"spiffe://{mesh.trust_domain}/ns/{SYSTEM_NAMESPACE}/sa/{account}"
    found: list[dict[str, Any]] = []
    for host, role in ((POLICY_HOST, "policy"), (TELEMETRY_HOST, "telemetry")):
        endpoints = [_endpoint(mesh.addresses[f"{name}-secure"]) for name in mesh.mixers_for(role)]
        meta = {"name": host.partition(".")[0], "namespace": SYSTEM_NAMESPACE}
        found += [
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "ServiceEntry",
                "metadata": meta,
                "spec": {
                    "hosts": [host],
                    "location": "MESH_INTERNAL",
                    "resolution": "STATIC",
                    "ports": [{"number": MIXER_PORT, "name": "grpc-mixer", "protocol": "GRPC"}],
                    "endpoints": endpoints,
                },
            },
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": meta,
                "spec": {
                    "host": host,
                    "trafficPolicy": {
                        "tls": {"mode": "ISTIO_MUTUAL", "subjectAltNames": [identity]}
                    },
                },
            },
        ]
    return found


def _endpoint(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"address": host, "ports": {"grpc-mixer": int(port)}}


def telemetry_defaults() -> str:
    """Mixer's default attribute manifests and telemetry rules, as YAML (mixer.md H)."""
    return resources.files("mast.mixer").joinpath("defaults/telemetry.yaml").read_text()


async def apply(mesh: Mesh, objects: Sequence[dict[str, Any]], *texts: str) -> None:
    """Store objects and YAML texts in one transaction."""
    sources = [
        config_pb2.Source(name="mastctl", text=json.dumps({"kind": "List", "items": objects})),
        *(config_pb2.Source(name="defaults", text=text) for text in texts),
    ]
    async with galley(mesh.addresses["galley-admin"]) as api:
        await api.Apply(config_pb2.ApplyRequest(sources=sources), timeout=20)
