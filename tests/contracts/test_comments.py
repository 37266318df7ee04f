"""The .proto files describe themselves: kubectl explain shows their comments to users."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import Default

from tests.contracts.compiled import generated_modules
from tests.contracts.conftest import HOOK

CRDS = Path(__file__).with_name("tables") / "crds.txt"
NOT_KINDS = ("istio.mesh.v1alpha1.MeshConfig", "istio.mesh.v1alpha1.MeshNetworks")

# Numbers of the parts of a descriptor in source locations (descriptor.proto, "SourceCodeInfo").
SYNTAX = (12,)
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE = 4, 5, 6
MESSAGE_FIELD, MESSAGE_MESSAGE, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE, SERVICE_METHOD = 2, 2


@dataclass(frozen=True)
class Described:
    """A definition and the comment above it, "" if there is none."""

    kind: str
    name: str
    comment: str


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


def definitions(file: FileDescriptorProto) -> Iterator[Described]:
    comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
    header = next((at for at in file.source_code_info.location if tuple(at.path) == SYNTAX), None)
    detached = "".join(header.leading_detached_comments) if header is not None else ""
    yield Described("file", file.name, detached)

    def at(kind: str, name: str, *path: int) -> Described:
        return Described(kind, name, comments.get(path, ""))

    def enum(entry: EnumDescriptorProto, scope: str, *path: int) -> Iterator[Described]:
        name = f"{scope}.{entry.name}"
        yield at("enum", name, *path)
        for i, value in enumerate(entry.value):
            yield at("value", f"{name}.{value.name}", *path, ENUM_VALUE, i)

    def message(entry: DescriptorProto, scope: str, *path: int) -> Iterator[Described]:
        name = f"{scope}.{entry.name}"
        yield at("message", name, *path)
        for i, field in enumerate(entry.field):
            yield at("field", f"{name}.{field.name}", *path, MESSAGE_FIELD, i)
        for i, nested in enumerate(entry.nested_type):
            if not nested.options.map_entry:
                yield from message(nested, name, *path, MESSAGE_MESSAGE, i)
        for i, inner in enumerate(entry.enum_type):
            yield from enum(inner, name, *path, MESSAGE_ENUM, i)

    for i, top in enumerate(file.message_type):
        yield from message(top, file.package, FILE_MESSAGE, i)
    for i, choice in enumerate(file.enum_type):
        yield from enum(choice, file.package, FILE_ENUM, i)
    for i, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield at("service", name, FILE_SERVICE, i)
        for j, method in enumerate(service.method):
            yield at("rpc", f"{name}.{method.name}", FILE_SERVICE, i, SERVICE_METHOD, j)


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
