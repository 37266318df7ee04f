"""Services, workloads and endpoints of a platform, written as YAML.

``apiVersion: registry.mast/v1``, kind Service, Workload or EndpointShard, and the fields of that
message of ``mastapi.registry.v1`` as ``spec``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mast.cli.offline.documents import Document, Found, Reader, Registered
from mast.common import keys
from mast.galley.core.decode import decode
from mast.galley.core.documents import Node
from mast.galley.core.problem import path_text
from mastapi.registry.v1 import registry_pb2 as registry

API_VERSION = "registry.mast/v1"


def _reader(kind: type[Any], key: Callable[[Any], str]) -> Reader:
    def read(document: Document, _: str) -> Found:
        decoded = decode(document.content.get("spec", Node({})), kind, ("spec",))
        problems = [
            document.problem(
                each.rule, each.message, path_text(each.path), decoded.positions.get(each.path)
            )
            for each in decoded.findings
        ]
        try:
            found = Registered(key(decoded.message), decoded.message)
        except ValueError as error:
            problems.append(document.problem("required", str(error), "spec"))
            return Found(problems=tuple(problems))
        return Found(registered=(found,), problems=tuple(problems))

    return read


READERS: Mapping[tuple[str, str], Reader] = {
    (API_VERSION, "Service"): _reader(
        registry.Service, lambda each: keys.service_key(each.namespace, each.host, each.cluster)
    ),
    (API_VERSION, "Workload"): _reader(
        registry.Workload,
        lambda each: keys.workload_key(each.cluster, each.namespace, each.name),
    ),
    (API_VERSION, "EndpointShard"): _reader(
        registry.EndpointShard,
        lambda each: keys.endpoints_key(each.namespace, each.host, each.shard),
    ),
}
