"""Wasm modules that Envoy is to fetch: the agent does, and Envoy gets a file (B4.4).

Pilot says how in variables of the module, which are taken out here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

ECDS: Final = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"

_POLICY: Final = "ISTIO_META_WASM_IMAGE_PULL_POLICY"
_SECRET: Final = "ISTIO_META_WASM_IMAGE_PULL_SECRET"  # noqa: S105 - the name of a variable
_VERSION: Final = "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION"
_FOR_AGENT: Final = (_POLICY, _SECRET, _VERSION)
_ALWAYS: Final = "Always"
_DEFAULT_TIMEOUT: Final = timedelta(seconds=30)

DOCKER_HUB: Final = "registry-1.docker.io"
_LATEST: Final = "latest"
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Image:
    """An OCI image; `digest` (`sha256:…`) is empty unless the reference has one."""

    registry: str
    repository: str
    tag: str = _LATEST
    digest: str = ""

    @property
    def reference(self) -> str:
        """What its manifest is asked for by."""
        return self.digest or self.tag


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module that is wanted; `sha256` is that of the file, or of the image's manifest.

    `secret` is the bare name of the image pull secret; `version` that of the plugin: a change of
    it makes a module that is always to be pulled be pulled again.
    """

    url: str
    sha256: str = ""
    policy: str = ""
    secret: str = ""
    version: str = ""
    timeout: timedelta = _DEFAULT_TIMEOUT

    @property
    def image(self) -> Image | None:
        """The image that the URL names; None for HTTP. Raises ValueError if it names none."""
        scheme, _, rest = self.url.partition("://")
        return _image(rest) if scheme == "oci" else None

    @property
    def always(self) -> bool:
        """Whether it is pulled again for each version of the plugin: by policy, or tag `latest`
        without a digest (Istio WasmPlugin, "imagePullPolicy")."""
        if self.policy:
            return self.policy == _ALWAYS
        image = self.image
        return image is not None and not image.digest and not self.sha256 and image.tag == _LATEST


def wanted(data: bytes, *, delta: bool) -> frozenset[Module]:
    """The modules that the plugins of a response need. Raises ValueError if it is none."""
    found = set()
    for extension in _extensions(_parsed(data, delta=delta)):
        config = _wasm(extension)
        if config is not None and config.config.vm_config.code.HasField("remote"):
            found.add(_module(config.config.vm_config))
    return frozenset(found)


def localised(data: bytes, files: Mapping[Module, str], *, delta: bool) -> bytes:
    """The same response with the files of modules in place of their URLs."""
    response = _parsed(data, delta=delta)
    for body in _bodies(response):
        extension = TypedExtensionConfig()
        if not body.Unpack(extension):
            continue
        config = _wasm(extension)
        if config is None:
            continue
        machine = config.config.vm_config
        if machine.code.HasField("remote"):
            machine.code.local.filename = files[_module(machine)]
        for name in _FOR_AGENT:
            machine.environment_variables.key_values.pop(name, None)
        extension.typed_config.Pack(config, deterministic=True)
        body.Pack(extension, deterministic=True)
    return response.SerializeToString(deterministic=True)


def _parsed(data: bytes, *, delta: bool) -> Message:
    try:
        return (DeltaDiscoveryResponse if delta else DiscoveryResponse).FromString(data)
    except DecodeError as error:
        raise ValueError(f"no response about extensions: {error}") from error


def _bodies(response: Any) -> Iterator[AnyMessage]:
    for each in response.resources:
        yield each.resource if isinstance(response, DeltaDiscoveryResponse) else each


def _extensions(response: Message) -> Iterator[TypedExtensionConfig]:
    for body in _bodies(response):
        extension = TypedExtensionConfig()
        if body.Unpack(extension):
            yield extension


def _wasm(extension: TypedExtensionConfig) -> HttpWasm | NetworkWasm | None:
    for config in (HttpWasm(), NetworkWasm()):
        if extension.typed_config.Unpack(config):
            return config
    return None


def _module(machine: Any) -> Module:
    told, remote = machine.environment_variables.key_values, machine.code.remote
    return Module(
        url=remote.http_uri.uri,
        sha256=remote.sha256,
        policy=told.get(_POLICY, ""),
        secret=told.get(_SECRET, "").rpartition("/")[2],
        version=told.get(_VERSION, ""),
        timeout=remote.http_uri.timeout.ToTimedelta() or _DEFAULT_TIMEOUT,
    )


def _image(text: str) -> Image:
    """`[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` (OCI distribution, "references")."""
    name, at, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    registry = ""
    if slash and (first == "localhost" or "." in first or ":" in first):
        registry, name = first, rest
    repository, colon, tag = name.partition(":")
    if not registry or registry in {"docker.io", "index.docker.io"}:
        registry = DOCKER_HUB
        repository = repository if "/" in repository else f"library/{repository}"
    good = (
        _REPOSITORY.fullmatch(repository)
        and (_TAG.fullmatch(tag) or not colon)
        and (_DIGEST.fullmatch(digest) or not at)
    )
    if not good:
        raise ValueError(f"oci://{text}: want REGISTRY/REPOSITORY:TAG or …@sha256:DIGEST")
    return Image(registry=registry, repository=repository, tag=tag or _LATEST, digest=digest)
