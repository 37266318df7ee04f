"""What users add to the bootstrap: Pilot hands it over, the agent merges it (pilot.md B, K1)."""

from typing import Final

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.message import DecodeError

from mast.agent.core.bootstrap import as_json
from mast.common.envoy.constraints import violations
from mast.common.envoy.merging import merge

BOOTSTRAP: Final = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap"


def request(node: Node) -> bytes:
    """The only request of a stream that asks what the bootstrap is to be merged with."""
    return DeltaDiscoveryRequest(node=node, type_url=BOOTSTRAP).SerializeToString()


def patch_in(response: bytes) -> Bootstrap | None:
    """What the answer wants merged, None if nothing. Raises ValueError for other answers."""
    try:
        answer = DeltaDiscoveryResponse.FromString(response)
    except DecodeError as error:
        raise ValueError(f"bootstrap patches: {error}") from error
    merged = None
    for each in answer.resources:
        patch = Bootstrap()
        if not each.resource.Unpack(patch):
            raise ValueError(f"bootstrap patches: a resource is a {each.resource.type_url!r}")
        merged = patch if merged is None else patched(merged, patch)
    return merged


def patched(bootstrap: Bootstrap, patch: Bootstrap) -> Bootstrap:
    """The bootstrap with a patch merged into it: lists appended, scalars replaced (K3).

    Who the proxy is and where it asks for the rest stays as it was.
    """
    result = Bootstrap()
    result.CopyFrom(bootstrap)
    merge(result, patch)
    for name in ("node", "dynamic_resources"):
        result.ClearField(name)
        if bootstrap.HasField(name):
            getattr(result, name).CopyFrom(getattr(bootstrap, name))
    return result


def refusal(bootstrap: Bootstrap) -> str:
    """Why Envoy would not start with a bootstrap; empty if nothing is known against it."""
    found = [str(each) for each in violations(bootstrap)]
    try:
        as_json(bootstrap)
    except TypeError as error:  # a typed configuration of a message that nobody knows
        found.append(str(error))
    return "; ".join(found)
