"""What proxies get from a mesh, case by case, read as YAML and checked by Envoy.

A case is `CASE.in.yaml` in tests/golden/pilot: objects of the mesh (see tests.support.mesh_yaml)
and one document of kind Proxy with its `node` and what to `show`: patterns of resource names under
`clusters`, `endpoints`, `listeners`, `routes`, `extensions` and `names`. Each shown kind is
compared with `CASE.KIND.yaml`. UPDATE_GOLDEN=1 rewrites these; review the difference as code.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message import Message

from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.pilot.core.model.proxy import parse
from mast.pilot.core.xds.resources import NDS, View
from tests.support.envoy_server import validate
from tests.support.golden_view import resources_of, static
from tests.support.mesh_yaml import world

DIRECTORY = Path(__file__).parents[2] / "golden" / "pilot"
SUFFIX = ".in.yaml"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"


@dataclass(frozen=True)
class Case:
    """One input file, split into the mesh and the proxy that looks at it."""

    name: str
    mesh: tuple[str, ...]
    node: Node
    show: Mapping[str, list[str]]

    @classmethod
    def read(cls, name: str) -> "Case":
        """The case of that name."""
        text = (DIRECTORY / f"{name}{SUFFIX}").read_text()
        read = [(each, yaml.load(each, yaml.CSafeLoader)) for each in text.split("\n---\n")]
        proxies = [found for _, found in read if found and found["kind"] == "Proxy"]
        assert len(proxies) == 1, f"{name}: one document of kind Proxy is needed"
        (proxy,) = proxies
        return cls(
            name,
            tuple(each for each, found in read if found and found is not proxy),
            ParseDict(proxy["node"], Node()),
            proxy["show"],
        )

    def view(self) -> View:
        """What the proxy sees of the mesh."""
        return world(*self.mesh).snapshot(1).view(parse(self.node))

    def file(self, kind: str) -> Path:
        """Where the expected resources of a kind are."""
        return DIRECTORY / f"{self.name}.{kind}.yaml"


def names() -> list[str]:
    """All cases."""
    return sorted(each.name.removesuffix(SUFFIX) for each in DIRECTORY.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("name", names())
def test_golden(name: str) -> None:
    case = Case.read(name)
    view = case.view()
    found = resources_of(view)
    by_kind: dict[str, Mapping[str, Message]] = {
        "clusters": found.clusters,
        "endpoints": found.endpoints,
        "listeners": found.listeners,
        "routes": found.routes,
        "extensions": found.extensions,
        "names": {each.name: NameTable.FromString(each.body) for each in view.collection(NDS)},
    }
    for kind, patterns in case.show.items():
        for pattern in patterns:
            assert any(fnmatchcase(each, pattern) for each in by_kind[kind]), (
                f"{kind}: nothing is named {pattern}, but {sorted(by_kind[kind])}"
            )
        shown = [
            as_dict(by_kind[kind][each])
            for each in sorted(by_kind[kind])
            if any(fnmatchcase(each, pattern) for pattern in patterns)
        ]
        if UPDATE:
            case.file(kind).write_text(yaml.safe_dump(shown, sort_keys=True, width=100))
        assert shown == yaml.load(case.file(kind).read_text(), yaml.CSafeLoader)


@pytest.mark.parametrize("name", names())
def test_envoy_accepts_the_golden_resources(name: str, tmp_path: Path) -> None:
    validate(static(resources_of(Case.read(name).view())), tmp_path)


def test_every_golden_file_belongs_to_a_case() -> None:
    cases = [Case.read(name) for name in names()]
    expected = {f"{each.name}{SUFFIX}" for each in cases}
    expected |= {each.file(kind).name for each in cases for kind in each.show}
    assert {each.name for each in DIRECTORY.iterdir()} == expected


def as_dict(message: Message) -> dict[str, Any]:
    """A message with the field names of its .proto file, packed messages opened."""
    found: dict[str, Any] = json.loads(MessageToJson(message, preserving_proto_field_name=True))
    return found
