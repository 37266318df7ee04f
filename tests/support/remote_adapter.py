"""An adapter out of process for tests: descriptors of its templates, and its gRPC server."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from istio.mixer.adapter.model.v1beta1 import check_pb2, extensions_pb2, report_pb2
from istio.policy.v1beta1 import type_pb2
from mast.mixer.core.dynamic import Service

_IMPORTS = (extensions_pb2, type_pb2, check_pb2, report_pb2)

Answer = Callable[[Any, Mapping[str, str]], Any]
"""From a request and its metadata to a response, which may be awaited."""


def descriptor(file: FileDescriptor | FileDescriptorProto) -> str:
    """A file with everything it imports, as a resource holds it (G10)."""
    found: dict[str, FileDescriptorProto] = {}

    def add(each: FileDescriptor) -> None:
        for needed in each.dependencies:
            add(needed)
        found[each.name] = FileDescriptorProto.FromString(each.serialized_pb)

    if isinstance(file, FileDescriptor):
        add(file)
    else:
        for module in _IMPORTS:
            add(module.DESCRIPTOR)
        found[file.name] = file
    raw = FileDescriptorSet(file=found.values()).SerializeToString()
    return base64.b64encode(raw).decode()


_STRING, _INT64, _MESSAGE = 9, 3, 11


def _field(message: Any, name: str, kind: int, of: str = "", *, repeated: bool = False) -> None:
    number = len(message.field) + 1
    field = message.field.add(name=name, number=number, type=kind, label=3 if repeated else 1)
    if of:
        field.type_name = f".{of}"


def template_file(package: str, variety: int, answer: str) -> FileDescriptorProto:
    """A template ``who`` (a string), ``size`` (an integer) and ``any`` (a value).

    ``answer`` is the type of the response: "OutputMsg" for the messages below, a type by name, or
    "" for a check with output.
    """
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for module in _IMPORTS:
        file.dependency.append(module.DESCRIPTOR.name)
    file.dependency.append("google/protobuf/any.proto")
    file.options.Extensions[extensions_pb2.template_variety] = variety  # type: ignore[index]
    file.options.Extensions[extensions_pb2.template_name] = package  # type: ignore[index]
    instance = file.message_type.add(name="InstanceMsg")
    _field(instance, "who", _STRING)
    _field(instance, "size", _INT64)
    _field(instance, "any", _MESSAGE, "istio.policy.v1beta1.Value")
    instance.field.add(name="name", number=72295727, type=_STRING, label=1)
    output = file.message_type.add(name="OutputMsg")
    _field(output, "greeting", _STRING)
    _field(output, "length", _INT64)
    _field(output, "address", _MESSAGE, "istio.policy.v1beta1.IPAddress")
    request = file.message_type.add(name="HandleRequest")
    several = variety == extensions_pb2.TEMPLATE_VARIETY_REPORT
    name = "instances" if several else "instance"
    _field(request, name, _MESSAGE, f"{package}.InstanceMsg", repeated=several)
    _field(request, "adapter_config", _MESSAGE, "google.protobuf.Any")
    _field(request, "dedup_id", _STRING)
    if not answer:
        response = file.message_type.add(name="HandleResponse")
        _field(response, "result", _MESSAGE, "istio.mixer.adapter.model.v1beta1.CheckResult")
        _field(response, "output", _MESSAGE, f"{package}.OutputMsg")
    of = {"": f"{package}.HandleResponse", "OutputMsg": f"{package}.OutputMsg"}.get(answer, answer)
    service = file.service.add(name="HandleGreetingService")
    service.method.add(
        name="HandleGreeting", input_type=f".{package}.HandleRequest", output_type=f".{of}"
    )
    return file


def params_file() -> FileDescriptorProto:
    """``Params`` with a string ``mood``."""
    file = FileDescriptorProto(name="params.proto", package="sample.config", syntax="proto3")
    message = file.message_type.add(name="Params")
    _field(message, "mood", _STRING)
    return file


@asynccontextmanager
async def serving(
    answers: Mapping[Service, Answer], credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    """An adapter that answers calls of services; gives ``127.0.0.1:PORT``."""
    server = grpc.aio.server()
    for service, answer in answers.items():
        name, method = service.path.strip("/").split("/")
        handlers = {method: _handler(service, answer)}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _handler(service: Service, answer: Answer) -> grpc.RpcMethodHandler:
    async def handle(request: Any, context: Any) -> Any:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        return answer(request, metadata)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=service.request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
