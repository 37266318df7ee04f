"""The etcd3 package, made loadable: its generated stubs replaced by those of our protos.

etcd3 0.12 ships stubs that protobuf >= 4 refuses to load. Messages and services generated from
``protos/proto/etcd`` have the same names, so they are registered as ``etcd3.etcdrpc`` before the
package is imported for the first time. Its stubs then work on any gRPC channel, an asyncio one
included. This module is the only one in Mast that imports etcd3.
"""

from __future__ import annotations

import sys
from types import ModuleType

from etcd.api.authpb import auth_pb2
from etcd.api.etcdserverpb import rpc_pb2, rpc_pb2_grpc
from etcd.api.mvccpb import kv_pb2

_PACKAGE = "etcd3.etcdrpc"


def _register() -> None:
    package = ModuleType(_PACKAGE, "etcd API, generated from Mast's protos")
    package.__path__ = []
    for module in (rpc_pb2, rpc_pb2_grpc):
        public = {name: value for name, value in vars(module).items() if name[0] != "_"}
        vars(package).update(public)
    modules = {"rpc_pb2": rpc_pb2, "rpc_pb2_grpc": rpc_pb2_grpc}
    for name, module in {**modules, "kv_pb2": kv_pb2, "auth_pb2": auth_pb2}.items():
        setattr(package, name, module)
        sys.modules[f"{_PACKAGE}.{name}"] = module
    sys.modules[_PACKAGE] = package


_register()

from etcd3 import Etcd3Exception, transactions  # noqa: E402
from etcd3.utils import increment_last_byte  # noqa: E402

__all__ = [
    "Etcd3Exception",
    "auth_pb2",
    "increment_last_byte",
    "kv_pb2",
    "rpc_pb2",
    "rpc_pb2_grpc",
    "transactions",
]
