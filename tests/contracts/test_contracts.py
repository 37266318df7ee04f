"""The compiled Istio, Mixer and etcd messages are exactly those of the contract tables."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool

from tests.contracts.compiled import compiled, generated_modules
from tests.contracts.facts import Facts, difference
from tests.contracts.notation import parse
from tests.contracts.tabled import tabled

TABLES = sorted(Path(__file__).with_name("tables").glob("*.txt"))

# Tabled by 1.4, and deliberately not compiled.
LEFT_OUT = {
    # Moved to istio.networking.v1alpha3 with equal fields; MeshConfig refers to it there.
    "istio.mesh.v1alpha1.LocalityLoadBalancerSetting",
    "istio.mesh.v1alpha1.LocalityLoadBalancerSetting.Distribute",
    "istio.mesh.v1alpha1.LocalityLoadBalancerSetting.Failover",
}


def definition(key: str) -> str:
    """The message or enum a key is about."""
    kind, name = key.split(" ", 1)
    return name.rpartition(".")[0] if kind in ("field", "value", "reserved") else name


@pytest.fixture(scope="module")
def files() -> list[FileDescriptor]:
    return [importlib.import_module(module).DESCRIPTOR for module in generated_modules("_pb2")]


@pytest.fixture(scope="module")
def demanded() -> Facts:
    facts = tabled(parse(path.read_text()) for path in TABLES)
    return {key: fact for key, fact in facts.items() if definition(key) not in LEFT_OUT}


def test_compiled_messages_are_those_of_the_tables(
    files: list[FileDescriptor], demanded: Facts
) -> None:
    assert difference(demanded, compiled(files)) == []


def renumber(file: FileDescriptorProto) -> None:
    message(file, "VirtualService").field[0].number = 99


def rename(file: FileDescriptorProto) -> None:
    message(file, "VirtualService").field[0].name = "host"


def retype(file: FileDescriptorProto) -> None:
    message(file, "HTTPRetry").field[0].type = FieldDescriptorProto.TYPE_INT64


def single(file: FileDescriptorProto) -> None:
    message(file, "VirtualService").field[0].label = FieldDescriptorProto.LABEL_OPTIONAL


def remove_from_oneof(file: FileDescriptorProto) -> None:
    message(file, "StringMatch").field[0].ClearField("oneof_index")


def rename_in_json(file: FileDescriptorProto) -> None:
    message(file, "VirtualService").field[5].json_name = "exported"


def revive(file: FileDescriptorProto) -> None:
    message(file, "CorsPolicy").field[0].options.deprecated = False


def unrequire(file: FileDescriptorProto) -> None:
    message(file, "Destination").field[0].ClearField("options")


def drop_message(file: FileDescriptorProto) -> None:
    del file.message_type[[m.name for m in file.message_type].index("RegexRewrite")]
    del message(file, "HTTPRewrite").field[2]


def add_message(file: FileDescriptorProto) -> None:
    file.message_type.add(name="Extra")


def renumber_value(file: FileDescriptorProto) -> None:
    message(file, "CorsPolicy").enum_type[0].value[2].number = 7


def unreserve(file: FileDescriptorProto) -> None:
    message(file, "PortSelector").ClearField("reserved_range")


def unpack(file: FileDescriptorProto) -> None:
    ports = next(f for f in message(file, "AccessRule").field if f.name == "ports")
    ports.options.packed = False


def forget_presence(file: FileDescriptorProto) -> None:
    address = message(file, "NetworkAddress")
    address.field[2].ClearField("proto3_optional")
    address.field[2].ClearField("oneof_index")
    address.ClearField("oneof_decl")


def stop_streaming(file: FileDescriptorProto) -> None:
    file.service[0].method[0].server_streaming = False


def rename_rpc(file: FileDescriptorProto) -> None:
    file.service[0].method[0].name = "Verify"


def forget_options(file: FileDescriptorProto) -> None:
    file.ClearField("options")


def renumber_extension(file: FileDescriptorProto) -> None:
    file.extension[0].number += 1


MCP = "istio.mcp.v1alpha1"
NETWORKING = "istio.networking.v1alpha3"
VIRTUAL_SERVICE = "istio/networking/v1alpha3/virtual_service.proto"
EDGE = "istio/mixer/template/edge/template.proto"
MODEL = "istio/mixer/adapter/model/v1beta1/extensions.proto"
MUTATIONS: list[tuple[str, Callable[[FileDescriptorProto], None], list[str]]] = [
    (
        VIRTUAL_SERVICE,
        renumber,
        [
            f"missing field {NETWORKING}.VirtualService.1",
            f"extra field {NETWORKING}.VirtualService.99",
        ],
    ),
    (VIRTUAL_SERVICE, rename, [f"different field {NETWORKING}.VirtualService.1"]),
    (VIRTUAL_SERVICE, retype, [f"different field {NETWORKING}.HTTPRetry.1"]),
    (VIRTUAL_SERVICE, single, [f"different field {NETWORKING}.VirtualService.1"]),
    (VIRTUAL_SERVICE, remove_from_oneof, [f"different field {NETWORKING}.StringMatch.1"]),
    (VIRTUAL_SERVICE, rename_in_json, [f"different field {NETWORKING}.VirtualService.6"]),
    (VIRTUAL_SERVICE, revive, [f"different field {NETWORKING}.CorsPolicy.1"]),
    (VIRTUAL_SERVICE, unrequire, [f"different field {NETWORKING}.Destination.1"]),
    (
        VIRTUAL_SERVICE,
        drop_message,
        [
            f"missing field {NETWORKING}.HTTPRewrite.3",
            f"missing field {NETWORKING}.RegexRewrite.1",
            f"missing field {NETWORKING}.RegexRewrite.2",
            f"missing message {NETWORKING}.RegexRewrite",
        ],
    ),
    (VIRTUAL_SERVICE, add_message, [f"extra message {NETWORKING}.Extra"]),
    (
        VIRTUAL_SERVICE,
        renumber_value,
        [
            f"missing value {NETWORKING}.CorsPolicy.UnmatchedPreflights.2",
            f"extra value {NETWORKING}.CorsPolicy.UnmatchedPreflights.7",
        ],
    ),
    (VIRTUAL_SERVICE, unreserve, [f"missing reserved {NETWORKING}.PortSelector.2"]),
    (
        "istio/rbac/v1alpha1/rbac.proto",
        unpack,
        ["different field istio.rbac.v1alpha1.AccessRule.9"],
    ),
    (
        "istio/workload/workload.proto",
        forget_presence,
        ["different field istio.workload.NetworkAddress.3"],
    ),
    (
        "istio/mcp/v1alpha1/mcp.proto",
        stop_streaming,
        [f"different rpc /{MCP}.AggregatedMeshConfigService/StreamAggregatedResources"],
    ),
    (
        "istio/mixer/v1/mixer.proto",
        rename_rpc,
        [
            "missing rpc /istio.mixer.v1.Mixer/Check",
            "extra rpc /istio.mixer.v1.Mixer/Verify",
        ],
    ),
    (EDGE, forget_options, ["different message edge.Template"]),
    (
        MODEL,
        renumber_extension,
        [
            "missing extension google.protobuf.FileOptions.72295727",
            "extra extension google.protobuf.FileOptions.72295728",
        ],
    ),
]


def message(file: FileDescriptorProto, name: str) -> Any:
    """Any: the types of nested repeated containers add nothing to the mutations above."""
    return next(m for m in file.message_type if m.name == name)


@pytest.mark.parametrize(
    ("path", "mutate", "found"), MUTATIONS, ids=[mutate.__name__ for _, mutate, _ in MUTATIONS]
)
def test_a_changed_definition_is_found(
    path: str,
    mutate: Callable[[FileDescriptorProto], None],
    found: list[str],
    files: list[FileDescriptor],
    demanded: Facts,
) -> None:
    """The comparison above would fail if any of these were changed by accident."""
    lines = difference(demanded, compiled(rebuilt(files, path, mutate)))
    assert sorted(line.split(": ")[0] for line in lines) == sorted(found)


def rebuilt(
    files: list[FileDescriptor], path: str, mutate: Callable[[FileDescriptorProto], None]
) -> list[FileDescriptor]:
    """The same files in a pool of their own, one of them changed."""
    pool = DescriptorPool()
    added = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        if file.name == path:
            mutate(proto)
        pool.Add(proto)

    for file in files:
        add(file)
    assert path in added
    return [pool.FindFileByName(file.name) for file in files]


class RecordingChannel:
    """Stands for a gRPC channel; keeps which path a stub binds to which kind of call."""

    def __init__(self) -> None:
        self.calls: dict[str, str] = {}

    def __getattr__(self, kind: str) -> Callable[..., None]:
        def bind(path: str, **_: object) -> None:
            self.calls[path] = kind

        return bind


KINDS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


def test_generated_clients_call_the_paths_of_the_tables() -> None:
    """A path is what is on the wire; the tables give it in full."""
    channel = RecordingChannel()
    for name in generated_modules("_pb2_grpc"):
        module = importlib.import_module(name)
        for stub in (value for key, value in vars(module).items() if key.endswith("Stub")):
            stub(channel)
    rpcs = [
        rpc
        for path in TABLES
        for table in parse(path.read_text()).tables
        for block in table.definitions
        for rpc in block.rpcs
    ]
    assert channel.calls == {
        rpc.path: KINDS[rpc.client_streams, rpc.server_streams] for rpc in rpcs
    }


@pytest.mark.parametrize("name", ["mcp.txt", "crds.txt"])
def test_every_message_a_resource_kind_names_is_compiled(
    name: str, files: list[FileDescriptor]
) -> None:
    """Collections and kinds refer to their spec message by name; files only loads them."""
    text = Path(__file__).with_name("tables").joinpath(name).read_text()
    named = {
        match
        for line in text.splitlines()
        if line.startswith("table ")
        for match in re.findall(r"\bistio\.[a-z0-9.]+\.[A-Z]\w+", line)
    }
    assert len(named) > 15
    for message_name in sorted(named):
        assert Default().FindMessageTypeByName(message_name).file in files
