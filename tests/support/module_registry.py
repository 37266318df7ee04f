"""An HTTP server with Wasm modules: as files, and as images of an OCI registry."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.http_site import http_site

RAW = "application/vnd.module.wasm.content.layer.v1+wasm"
ARCHIVE = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class ModuleRegistry:
    """`files` by path, `manifests` by reference, `blobs` by digest; `asked` are paths in order.

    With a `login` (user:password) the registry hands out tokens to those who have it; `basic`
    makes it want the login itself. `failures` are statuses of the next answers.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    login: str = ""
    basic: bool = False

    @property
    def host(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.port}"

    def put(self, tag: str, content: bytes, media_type: str = RAW) -> str:
        """Store an image of one layer; its digest."""
        layer = archived(content) if media_type == ARCHIVE else content
        return self.put_manifest(
            tag,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "layers": [{"mediaType": media_type, "digest": self._blob(layer)}],
            },
        )

    def put_manifest(self, tag: str, manifest: Mapping[str, Any]) -> str:
        """Store a manifest; its digest."""
        body = json.dumps(manifest).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.manifests[tag] = self.manifests[digest] = body
        return digest

    def pull_secret(self) -> str:
        """What a `.dockerconfigjson` would hold."""
        auth = base64.b64encode(self.login.encode()).decode()
        return json.dumps({"auths": {self.host: {"auth": auth}}})

    def _blob(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return digest

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        path = request.path
        self.asked.append(path)
        if self.failures:
            return web.Response(status=self.failures.pop(0))
        basic = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        given = request.headers.get("authorization", "")
        if path == "/token":
            known = given == basic and request.query["scope"].endswith(":pull")
            return web.json_response({"token": "t"} if known else {})
        if path.startswith("/v2/"):
            if self.login and given != (basic if self.basic else "Bearer t"):
                return web.Response(status=401, headers={"www-authenticate": self._challenge()})
            kind, reference = path.split("/")[-2:]
            body = (self.manifests if kind == "manifests" else self.blobs).get(reference)
        else:
            body = self.files.get(path)
        return web.Response(status=404) if body is None else web.Response(body=body)

    def _challenge(self) -> str:
        if self.basic:
            return 'Basic realm="here"'
        return f'Bearer realm="http://{self.host}/token",service="here",scope="repository:a:pull"'


def archived(content: bytes, name: str = "./plugin.wasm") -> bytes:
    """A layer with a file in it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(target.getvalue())


@asynccontextmanager
async def module_registry() -> AsyncIterator[ModuleRegistry]:
    """A registry on a port of its own."""
    registry = ModuleRegistry()
    application = web.Application()
    application.router.add_get("/{path:.*}", registry.answer)
    async with http_site(application) as registry.port:
        yield registry
