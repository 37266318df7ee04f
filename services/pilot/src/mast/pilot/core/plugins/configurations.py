"""What plugins are: the resources that listeners refer to by name (pilot.md K4, ECDS)."""

from typing import Any, Final

from envoy.config.core.v3.base_pb2 import (
    AsyncDataSource,
    DataSource,
    RemoteDataSource,
)
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy, PluginConfig
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.wrappers_pb2 import StringValue

from istio.extensions.v1alpha1.wasm_pb2 import (
    FAIL_OPEN,
    FAIL_RELOAD,
    HOST,
    UNSPECIFIED_POLICY,
    PullPolicy,
    WasmPlugin,
)
from mast.pilot.core.model.model import Config
from mast.pilot.core.packing import typed_extension
from mast.pilot.core.plugins.plugins import COLLECTIONS, NETWORK_NAMES, is_network, resource_name
from mast.pilot.core.scope.scope import Scope

RUNTIME: Final = "envoy.wasm.runtime.v8"
FETCHED_BY_AGENT: Final = "_"
"""Cluster of remote modules, which no Envoy has: the agent replaces the URL by a file (B4.4)."""

FETCH_TIMEOUT_SECONDS: Final = 30

PULL_POLICY: Final = "ISTIO_META_WASM_IMAGE_PULL_POLICY"
PULL_SECRET: Final = "ISTIO_META_WASM_IMAGE_PULL_SECRET"  # noqa: S105 - the name of a variable
RESOURCE_VERSION: Final = "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION"
"""Variables of a module that tell the agent how to fetch it; it takes them out."""

_FILE: Final = "file://"
_POLICIES: Final = {FAIL_OPEN: FailurePolicy.FAIL_OPEN, FAIL_RELOAD: FailurePolicy.FAIL_RELOAD}


def configuration(name: str, scope: Scope) -> TypedExtensionConfig | None:
    """The plugin of an ECDS name, None if the namespace sees none of that name."""
    for prefix, collection in COLLECTIONS.items():
        kind, _, plugin = name.rpartition("/")
        namespace, _, own_name = plugin.partition(".")
        if kind.removesuffix(NETWORK_NAMES) != prefix:
            continue
        if namespace in (scope.namespace, scope.mesh.root_namespace):
            found = scope.config(collection, namespace, own_name)
            return _configuration(found) if found and resource_name(found) == name else None
    return None


def _configuration(config: Config[Any]) -> TypedExtensionConfig:
    name, spec = resource_name(config), config.spec
    if not isinstance(spec, WasmPlugin) and spec.WhichOneof("filter_config") == "lua":
        source = DataSource(inline_string=spec.lua.inline_code)
        return typed_extension(name, Lua(default_source_code=source))
    module = spec if isinstance(spec, WasmPlugin) else spec.wasm
    plugin = _plugin(config, module)
    made = NetworkWasm(config=plugin) if is_network(config) else HttpWasm(config=plugin)
    return typed_extension(name, made)


def _plugin(config: Config[Any], module: Any) -> PluginConfig:
    result = PluginConfig(
        name=f"{config.meta.namespace}.{config.meta.name}",
        root_id=module.plugin_name,
        failure_policy=_POLICIES.get(module.fail_strategy, FailurePolicy.FAIL_CLOSED),
    )
    if module.HasField("plugin_config"):
        text = MessageToJson(module.plugin_config, indent=None, sort_keys=True)
        result.configuration.Pack(StringValue(value=text))
    machine = result.vm_config
    machine.runtime = RUNTIME
    for variable in module.vm_config.env:
        if variable.value_from == HOST:
            machine.environment_variables.host_env_keys.append(variable.name)
        else:
            machine.environment_variables.key_values[variable.name] = variable.value
    if module.url.startswith(_FILE):
        machine.code.local.filename = module.url.removeprefix(_FILE)
        return result
    machine.code.CopyFrom(_remote(module))
    told = machine.environment_variables.key_values
    told[RESOURCE_VERSION] = config.meta.version
    if module.image_pull_policy != UNSPECIFIED_POLICY:
        told[PULL_POLICY] = PullPolicy.Name(module.image_pull_policy)
    if module.image_pull_secret:
        told[PULL_SECRET] = f"kubernetes://{config.meta.namespace}/{module.image_pull_secret}"
    return result


def _remote(module: Any) -> AsyncDataSource:
    """A module at a URL; one without scheme is an OCI image (Istio WasmPlugin, "url")."""
    url = module.url if "://" in module.url else f"oci://{module.url}"
    uri = HttpUri(
        uri=url, cluster=FETCHED_BY_AGENT, timeout=Duration(seconds=FETCH_TIMEOUT_SECONDS)
    )
    return AsyncDataSource(remote=RemoteDataSource(http_uri=uri, sha256=module.sha256))
