"""Compiles proto/ into Python modules: `python compile.py DIRECTORY`.

Needs the packages `mast-protos` and `grpcio-tools`. The messages that our files import need not be
there as .proto files: their descriptors are in the modules of mast-protos, and protoc reads those.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from istio.mixer.adapter.model.v1beta1 import check_pb2, extensions_pb2

PROTO = Path(__file__).parent / "proto"


def with_imports(*files: FileDescriptor) -> FileDescriptorSet:
    """Files and all that they import, imports first."""
    found: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for imported in file.dependencies:
            add(imported)
        found.setdefault(file.name, file)

    for file in files:
        add(file)
    whole = FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(whole.file.add())
    return whole


def main() -> int:
    """Compile; the status of protoc."""
    if len(sys.argv) != 2:
        sys.exit("usage: compile.py DIRECTORY")
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".binpb") as known:
        Path(known.name).write_bytes(
            with_imports(check_pb2.DESCRIPTOR, extensions_pb2.DESCRIPTOR).SerializeToString()
        )
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={PROTO}",
                f"--descriptor_set_in={known.name}",
                f"--python_out={directory}",
                f"--grpc_python_out={directory}",
                *sorted(path.name for path in PROTO.glob("*.proto")),
            ]
        )
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
