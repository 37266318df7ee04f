"""What the comments of our .proto files say, by the full names of what they describe."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc  # type: ignore[import-untyped]

PROTOS = Path(__file__).parents[2] / "protos" / "proto"

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


def comments(files: Iterable[FileDescriptor], src: Path = PROTOS) -> Mapping[str, str]:
    """Comments in these files and what they import of ours, as paragraphs, by full name."""
    compiled = _compiled(files, src)
    return {
        entry.name: paragraphs(entry.comment) for file in compiled for entry in definitions(file)
    }


def _compiled(files: Iterable[FileDescriptor], src: Path) -> list[FileDescriptorProto]:
    """The files with what runtime descriptors lack: where everything stands, and comments."""
    ours: set[str] = set()
    known = FileDescriptorSet()

    def add(file: FileDescriptor) -> None:
        if file.name in ours or any(file.name == each.name for each in known.file):
            return
        for dependency in file.dependencies:
            add(dependency)
        if (src / file.name).exists():
            ours.add(file.name)
        else:
            file.CopyToProto(known.file.add())

    for file in files:
        add(file)
    with tempfile.TemporaryDirectory() as name:
        foreign, out = Path(name, "known.binpb"), Path(name, "compiled.binpb")
        foreign.write_bytes(known.SerializeToString())
        arguments = (
            f"--proto_path={src}",
            f"--descriptor_set_in={foreign}",
            f"--descriptor_set_out={out}",
            "--include_source_info",
        )
        if protoc.main(["protoc", *arguments, *sorted(ours)]) != 0:
            raise SystemExit("protoc failed; its messages are above")
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def definitions(file: FileDescriptorProto) -> Iterator[Described]:
    """Everything a file defines, itself first; it must have been compiled with source info."""
    texts = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
    header = next((at for at in file.source_code_info.location if tuple(at.path) == SYNTAX), None)
    detached = "".join(header.leading_detached_comments) if header is not None else ""
    yield Described("file", file.name, detached)

    def at(kind: str, name: str, *path: int) -> Described:
        return Described(kind, name, texts.get(path, ""))

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


def paragraphs(comment: str) -> str:
    """A comment without its line breaks; empty lines and lines of lists keep theirs."""
    text = ""
    for line in (each.strip() for each in comment.strip().splitlines()):
        if not line or line.startswith("- "):
            text += "\n" + line
        else:
            text += ("" if not text or text.endswith("\n") else " ") + line
        if not line:
            text += "\n"
    return text.replace("\n\n\n", "\n\n").strip()
