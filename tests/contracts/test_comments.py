"""The .proto files describe themselves: kubectl explain shows their comments to users."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import Default

from tests.contracts.compiled import generated_modules
from tests.contracts.conftest import HOOK
from tools.crds.comments import Described, definitions

CRDS = Path(__file__).with_name("tables") / "crds.txt"
NOT_KINDS = ("istio.mesh.v1alpha1.MeshConfig", "istio.mesh.v1alpha1.MeshNetworks")


@pytest.fixture(scope="module")
def described(hook: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Described]:
    """Everything that proto/istio and proto/etcd define."""
    scratch = tmp_path_factory.mktemp("comments")
    known, compiled = scratch / "known.binpb", scratch / "compiled.binpb"
    src = HOOK.with_name("proto")
    known.write_bytes(hook.installed_descriptors(src).SerializeToString())
    hook.run_protoc(
        f"--proto_path={src}",
        f"--descriptor_set_in={known}",
        f"--descriptor_set_out={compiled}",
        "--include_source_info",
        *hook.sources(src),
    )
    files = FileDescriptorSet.FromString(compiled.read_bytes()).file
    ours = [file for file in files if file.name.startswith(("etcd/", "istio/"))]
    return [entry for file in ours for entry in definitions(file)]


def test_everything_is_described(described: list[Described]) -> None:
    kinds = ("file", "message", "enum", "service", "rpc")
    silent = [
        entry.name for entry in described if entry.kind in kinds and not entry.comment.strip()
    ]
    assert silent == []


def test_comments_end_as_sentences(described: list[Described]) -> None:
    """The descriptions of custom resources are made from them."""
    comments = {entry.name: entry.comment.strip() for entry in described}
    assert {name: text for name, text in comments.items() if text and text[-1] != "."} == {}


def test_everything_a_user_can_configure_is_described(described: list[Described]) -> None:
    """Fields and enum values are, as far as they are reachable from the spec of a kind."""
    comments = {entry.name: entry.comment.strip() for entry in described}
    names = set(configurable())
    assert len(names) > 1000
    assert {name for name in names if not comments[name]} == set()


def configurable() -> Iterator[str]:
    """The fields and enum values of all kinds, of MeshConfig and of MeshNetworks."""
    for module in generated_modules("_pb2"):
        importlib.import_module(module)
    kinds = set(re.findall(r"^table .* (istio\.[a-z0-9.]+\.\w+)", CRDS.read_text(), re.MULTILINE))
    pending = [Default().FindMessageTypeByName(name) for name in sorted(kinds | set(NOT_KINDS))]
    seen: set[Descriptor | EnumDescriptor] = set()
    while pending:
        message = pending.pop()
        if message in seen or message.full_name.startswith("google."):
            continue
        seen.add(message)
        is_map = message.GetOptions().map_entry
        for field in message.fields:
            if not is_map:
                yield f"{message.full_name}.{field.name}"
            if field.message_type is not None:
                pending.append(field.message_type)
            if field.enum_type is not None and field.enum_type not in seen:
                seen.add(field.enum_type)
                yield from (f"{field.enum_type.full_name}.{v.name}" for v in field.enum_type.values)
