"""Releases as Secrets, and what belongs to one."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest

from mast.cli.install.release import (
    Release,
    kinds_of,
    marked,
    owner_of,
    read,
    release_name,
    secret,
)

CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "labels": {"x": "y"}, "annotations": {"z": "1"}},
}


def packed(text: bytes) -> str:
    return base64.b64encode(gzip.compress(text)).decode()


def release(**fields: Any) -> Release:
    given = {
        "name": "mast",
        "namespace": "mesh",
        "revision": "default",
        "profile": "ha",
        "chart": "mast",
        "version": "1.2.3",
        "values": {"pilot": {"replicaCount": 2}},
        "objects": [CONFIG_MAP],
        "definitions": {"things.x.io": ["v1"]},
    }
    return Release(**{**given, **fields})


def test_what_is_written_is_read() -> None:
    wanted = release(kinds=[["v1", "ConfigMap"]], number=3, complete=True)
    stored = secret(wanted)
    assert read(stored) == wanted
    assert stored["metadata"]["labels"]["mast.io/release"] == "mast"
    assert secret(wanted) == stored


@pytest.mark.parametrize(
    "data",
    [None, {}, {"release": "!"}, {"release": "YQ=="}, {"release": packed(b"{")},
     {"release": packed(b"{}")}, {"release": packed(b"[]")}],
)  # fmt: skip
def test_what_is_no_release(data: Any) -> None:
    with pytest.raises(ValueError, match="Secret x: it holds no release: "):
        read({"metadata": {"name": "x"}, "data": data})


def test_names() -> None:
    assert (release_name("default"), release_name("canary")) == ("mast", "mast-canary")


def test_marks() -> None:
    made = marked(CONFIG_MAP, "mast", "mesh")
    assert made["metadata"]["labels"]["x"] == "y"
    assert made["metadata"]["annotations"]["z"] == "1"
    assert owner_of(made) == ("mast", "mesh")
    assert owner_of(CONFIG_MAP) == owner_of({"metadata": {}}) == ("", "")
    assert CONFIG_MAP["metadata"]["labels"] == {"x": "y"}


@pytest.mark.parametrize(
    ("fields", "goes"),
    [
        ({}, True),
        ({"kind": "Secret"}, False),
        ({"kind": "PersistentVolumeClaim"}, False),
        ({"kind": "CustomResourceDefinition"}, False),
        ({"name": "other"}, False),
        ({"namespace": "other"}, False),
        ({"policy": "keep"}, False),
    ],
)
def test_what_goes_with_a_release(fields: dict[str, str], goes: bool) -> None:
    own = fields.get("name", "mast"), fields.get("namespace", "mesh")
    found = marked({**CONFIG_MAP, "kind": fields.get("kind", "ConfigMap")}, *own)
    if policy := fields.get("policy"):
        found["metadata"]["annotations"]["helm.sh/resource-policy"] = policy
    assert release().may_remove(found) is goes


def test_kinds_are_remembered() -> None:
    before = release(kinds=[["apps/v1", "Deployment"], ["v1", "ConfigMap"]])
    assert kinds_of([CONFIG_MAP], None) == [["v1", "ConfigMap"]]
    assert kinds_of([CONFIG_MAP], before) == before.kinds
