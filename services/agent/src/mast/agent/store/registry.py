"""Images of OCI registries over their HTTP API (OCI distribution, "pull")."""

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from mast.agent.core.modules import DOCKER_HUB, Image

MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_RAW: Final = "application/vnd.module.wasm.content.layer.v1+wasm"
_MODULE: Final = "plugin.wasm"
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
_HUB_KEY: Final = "https://index.docker.io/v1/"


class Unavailable(Exception):
    """A module could not be had; says from where and why."""


@dataclass(frozen=True)
class Pulled:
    """A module, and the digest of the manifest it belongs to (hexadecimal)."""

    content: bytes
    digest: str


@dataclass(frozen=True)
class Registries:
    """Pulls from registries; `credentials` gives a pull secret's content by name.

    `insecure` are registries (HOST[:PORT], or HOST for all ports) that are asked over plain HTTP.
    No answer may have more than `limit` bytes.
    """

    credentials: Callable[[str], str]
    insecure: frozenset[str]
    limit: int

    async def pull(
        self, http: aiohttp.ClientSession, image: Image, secret: str, expected: str
    ) -> Pulled:
        """The module in an image; `expected` is the digest of its manifest, or empty.

        Raises Unavailable, ClientError or TimeoutError.
        """
        source = _Source(http, self, image, self._login(image.registry, secret))
        manifest, digest = await source.manifest(image.reference)
        wanted = image.digest.removeprefix("sha256:") or expected
        if expected not in {"", digest} or wanted not in {"", digest}:
            raise Unavailable(f"{source}: manifest has sha256 {digest}, want {expected or wanted}")
        layers = manifest.get("layers") or []
        if manifest.get("manifests"):
            inner, _ = await source.manifest(manifest["manifests"][0]["digest"])
            layers = inner.get("layers") or []
        if not layers:
            raise Unavailable(f"{source}: the image has no layers")
        layer = layers[-1]
        content = await source.blob(layer["digest"])
        return Pulled(_unpacked(layer["mediaType"], content, self.limit), digest)

    def is_insecure(self, registry: str) -> bool:
        """Whether a registry is asked over plain HTTP."""
        return bool({registry, registry.rpartition(":")[0] or registry} & self.insecure)

    def _login(self, registry: str, secret: str) -> str:
        """What a pull secret (`.dockerconfigjson`) has for a registry, in base64; may be empty."""
        if not secret:
            return ""
        try:
            entries: Mapping[str, Any] = json.loads(self.credentials(secret))["auths"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"image pull secret {secret}: {error}") from error
        names = [registry, f"https://{registry}", f"http://{registry}"]
        names += [_HUB_KEY, "docker.io", "index.docker.io"] if registry == DOCKER_HUB else []
        entry: Mapping[str, Any] = next((entries[n] for n in names if n in entries), {})
        if entry.get("auth"):
            return str(entry["auth"])
        if "username" not in entry:
            return ""
        pair = f"{entry['username']}:{entry.get('password', '')}"
        return base64.b64encode(pair.encode()).decode()


@dataclass
class _Source:
    """One repository, and how to show who asks: first not at all, then as it demands."""

    http: aiohttp.ClientSession
    registries: Registries
    image: Image
    login: str
    authorization: str = ""

    def __str__(self) -> str:
        return f"oci://{self.image.registry}/{self.image.repository}"

    async def manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        """A manifest and its digest, which is checked if the reference is one."""
        body = await self._get(f"manifests/{reference}", ", ".join(MANIFESTS))
        digest = self._checked(body, reference)
        try:
            content = json.loads(body)
        except ValueError as error:
            raise Unavailable(f"{self}: the manifest is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise Unavailable(f"{self}: the manifest is no object")
        return content, digest

    async def blob(self, digest: str) -> bytes:
        """The content of a layer."""
        body = await self._get(f"blobs/{digest}", "*/*")
        self._checked(body, digest)
        return body

    def _checked(self, body: bytes, reference: str) -> str:
        digest = hashlib.sha256(body).hexdigest()
        if reference.startswith("sha256:") and reference != f"sha256:{digest}":
            raise Unavailable(f"{self}: {reference} has sha256 {digest}")
        return digest

    async def _get(self, path: str, accept: str) -> bytes:
        scheme = "http" if self.registries.is_insecure(self.image.registry) else "https"
        url = f"{scheme}://{self.image.registry}/v2/{self.image.repository}/{path}"
        for attempt in ("open", "authorised"):
            headers = {"accept": accept}
            if self.authorization:
                headers["authorization"] = self.authorization
            async with self.http.get(url, headers=headers) as answer:
                if answer.status == 401 and attempt == "open":
                    challenge = answer.headers.get("www-authenticate", "")
                elif answer.status == 200:
                    return await limited(answer, self.registries.limit)
                else:
                    raise Unavailable(f"{url}: status {answer.status}")
            self.authorization = await self._authorised(challenge)
        raise Unavailable(f"{url}: status 401")

    async def _authorised(self, challenge: str) -> str:
        """What a registry wants to see: the login itself, or a token for it."""
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and self.login:
            return f"Basic {self.login}"
        asked = dict(_CHALLENGE.findall(rest))
        if kind.lower() != "bearer" or "realm" not in asked:
            raise Unavailable(f"{self}: status 401, and there is no login for it")
        headers = {"authorization": f"Basic {self.login}"} if self.login else {}
        scope = asked.get("scope") or f"repository:{self.image.repository}:pull"
        query = {"service": asked.get("service", ""), "scope": scope}
        async with self.http.get(asked["realm"], params=query, headers=headers) as answer:
            if answer.status != 200:
                raise Unavailable(f"{self}: no token: status {answer.status}")
            content = await answer.json(content_type=None)
        token = content.get("token") or content.get("access_token")
        if not token:
            raise Unavailable(f"{self}: the answer to a login has no token")
        return f"Bearer {token}"


async def limited(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of an answer; Unavailable if it has more than `limit` bytes."""
    parts, size = [], 0
    async for part in answer.content.iter_chunked(1 << 16):
        size += len(part)
        if size > limit:
            raise Unavailable(f"{answer.url}: more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def _unpacked(media_type: str, content: bytes, limit: int) -> bytes:
    """The module of a layer: the layer itself, or `plugin.wasm` in its archive."""
    if media_type == _RAW:
        return content
    try:
        opened = content
        if content[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(content)) as packed:
                opened = packed.read(limit + 1)
        if len(opened) > limit:
            raise Unavailable(f"layer {media_type}: more than {limit} bytes")
        with tarfile.open(fileobj=io.BytesIO(opened)) as archive:
            for each in archive:
                if each.name.rpartition("/")[2] == _MODULE and each.isfile():
                    found = archive.extractfile(each)
                    return found.read() if found else b""
    except (OSError, EOFError, tarfile.TarError) as error:
        raise Unavailable(f"layer {media_type}: {error}") from error
    raise Unavailable(f"layer {media_type}: there is no {_MODULE} in it")
