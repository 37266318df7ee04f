"""Of an object the fields of its shape tell everything that reading tells."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

import pytest

from mast.common.kubernetes.decoding import Decoder
from mast.galley.core.discovery.objects import Item
from mast.galley.core.discovery.reading import read
from mast.galley.core.discovery.shapes import SHAPES

METADATA = {
    "name": "web",
    "namespace": "shop",
    "labels": {"app": "web", "kubernetes.io/service-name": "web"},
    "annotations": {"a": "b", "traffic.istio.io/nodeSelector": '{"pool": "edge"}'},
    "creationTimestamp": "2026-11-01T08:00:00Z",
    "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "controller": True}
    ],
    "managedFields": [{"manager": "kubectl"}],
}
PORT = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "UDP", "nodePort": 30080}
CONTAINER = {"name": "app", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]}
ENDPOINT = {
    "addresses": ["10.0.0.1"],
    "conditions": {"ready": False},
    "nodeName": "n1",
    "targetRef": {"kind": "Pod", "name": "web-1", "uid": "7"},
}
OBJECTS: dict[str, dict[str, Any]] = {
    "Namespace": {"apiVersion": "v1", "status": {"phase": "Active"}},
    "Node": {
        "apiVersion": "v1",
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {"addresses": [{"type": "ExternalIP", "address": "192.0.2.1"}], "images": []},
    },
    "Service": {
        "apiVersion": "v1",
        "spec": {
            "type": "NodePort",
            "clusterIPs": ["10.0.0.9", "None"],
            "clusterIP": "10.0.0.9",
            "ports": [PORT],
            "selector": {"app": "web"},
            "publishNotReadyAddresses": True,
            "internalTrafficPolicy": "Local",
            "externalIPs": ["192.0.2.2"],
            "trafficDistribution": "PreferClose",
        },
    },
    "EndpointSlice": {
        "apiVersion": "discovery.k8s.io/v1",
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [ENDPOINT],
    },
    "Pod": {
        "apiVersion": "v1",
        "spec": {
            "hostNetwork": True,
            "nodeName": "n1",
            "serviceAccountName": "web",
            "containers": [CONTAINER],
            "initContainers": [CONTAINER | {"name": "helper", "restartPolicy": "Always"}],
        },
        "status": {
            "phase": "Succeeded",
            "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "x"}],
        },
    },
}
OTHERS = (
    {"kind": "Service", "spec": {"type": "ExternalName", "externalName": "example.com"}},
    {
        "kind": "Service",
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.3"}, {"hostname": "lb.test"}]}},
    },
    {"kind": "Pod", "metadata": METADATA | {"deletionTimestamp": "2026-11-01T08:00:00Z"}},
    {"kind": "Pod", "spec": {"serviceAccount": "old"}, "status": None},
    {"kind": "Pod", "spec": [], "status": {"conditions": {}}},
    {"kind": "Pod", "metadata": None},
    {"kind": "Node", "status": "none", "metadata": METADATA | {"labels": 7}},
)


def shaped(found: dict[str, Any]) -> dict[str, Any]:
    """What is decoded of an object."""
    body = json.dumps({"metadata": {}, "items": [found]}).encode()
    (item,) = Decoder(SHAPES[found["kind"]]).page(body).objects
    return {"apiVersion": found["apiVersion"], "kind": found["kind"], **item}


def left_out(item: Item) -> list[str]:
    """Fields that are as if nothing was said."""
    found = []
    for each in fields(item):
        default = each.default_factory() if callable(each.default_factory) else each.default
        if default is not MISSING and getattr(item, each.name) == default:
            found.append(each.name)
    return found


@pytest.mark.parametrize("kind", SHAPES)
def test_every_field_that_is_read_is_decoded(kind: str) -> None:
    whole = {"kind": kind, "metadata": METADATA, **OBJECTS[kind]}
    found = read(shaped(whole))
    assert found == read(whole)
    assert found.item is not None
    unsaid = {"alias_of"} if kind == "Service" else set()
    assert set(left_out(found.item)) <= unsaid


@pytest.mark.parametrize("found", OTHERS, ids=repr)
def test_so_is_what_is_said_otherwise_or_wrongly(found: dict[str, Any]) -> None:
    whole = {"apiVersion": "v1", "metadata": METADATA, **found}
    assert read(shaped(whole)) == read(whole)


def test_what_nobody_reads_is_not_decoded() -> None:
    whole = {"kind": "Pod", "metadata": METADATA, **OBJECTS["Pod"]}
    text = json.dumps(shaped(whole))
    assert "managedFields" not in text
    assert "image" not in text
