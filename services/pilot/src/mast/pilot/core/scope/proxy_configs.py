"""The ProxyConfig of a proxy: of the mesh, of ProxyConfig objects, of the proxy itself."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.attachments import by_level
from mast.pilot.core.scope.scope import Scope

METADATA: Final = "PROXY_CONFIG"
"""Node metadata with the ProxyConfig that the agent started with, its own defaults included."""


def configured(scope: Scope, proxy: Proxy) -> ProxyConfig:
    """What mesh and ProxyConfig objects say: `defaultConfig`, then by level, field by field.

    Variables of all levels meet, those of the narrower one win (Istio ProxyConfig,
    "environmentVariables"); they are the agent's as `proxyMetadata` is.
    """
    result = ProxyConfig()
    result.CopyFrom(scope.mesh.config.default_config)
    for each in by_level(scope, collection_names.PROXY_CONFIGS, proxy):
        spec = each.spec
        if spec.HasField("concurrency"):
            result.concurrency.CopyFrom(spec.concurrency)
        if spec.HasField("image"):
            result.image.CopyFrom(spec.image)
        result.proxy_metadata.update(spec.environment_variables)
    return result


def effective(scope: Scope, proxy: Proxy) -> ProxyConfig:
    """What holds for a proxy: its own settings over those of the mesh, field by field.

    Its own have the annotation `proxy.istio.io/config` in them. A field that makes no sense is
    left out.
    """
    result = configured(scope, proxy)
    given = proxy.metadata.get(METADATA)
    for name, value in sorted(given.items()) if isinstance(given, Mapping) else ():
        _overlay(result, name, value)
    return result


def _overlay(target: ProxyConfig, name: str, value: Any) -> None:
    try:
        own = ParseDict({name: value}, ProxyConfig(), ignore_unknown_fields=True)
    except ParseError:
        return
    message: Message = target
    for descriptor, _ in own.ListFields():
        if descriptor.name != "proxy_metadata":
            message.ClearField(descriptor.name)
    target.MergeFrom(own)
