"""The paths of a fake API server, and what is done with requests to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

from mast.common.kubernetes.objects import (
    CERTIFICATE_SIGNING_REQUESTS,
    NAMESPACES,
    SECRETS,
    Object,
)
from tests.fakes.kubernetes import discovery
from tests.fakes.kubernetes.admission import warning_headers
from tests.fakes.kubernetes.callers import LEGACY_TYPE, User
from tests.fakes.kubernetes.chaos import Delayed, Dropped, Halved, Refused
from tests.fakes.kubernetes.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from tests.fakes.kubernetes.paths import Target, target
from tests.fakes.kubernetes.rbac import Asked as Call
from tests.fakes.kubernetes.status import Status, bad_request, invalid
from tests.fakes.kubernetes.watches import Asked, Stream, Watch, page
from tests.fakes.kubernetes.writes import Write

if TYPE_CHECKING:
    from tests.fakes.kubernetes.server import Cluster

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
_ACCESS = "/apis/authorization.k8s.io/v1"
# Longest name of a manager of fields.
_LONGEST_MANAGER = 128


def route(application: web.Application, handlers: Handlers) -> None:
    """Register every path."""
    router = application.router
    router.add_get("/.well-known/openid-configuration", handlers.issuer)
    router.add_get("/openid/v1/jwks", handlers.keys)
    for path in ("/healthz", "/livez", "/readyz"):
        router.add_get(path, handlers.healthy)
    router.add_get("/{path:version|api|apis}", handlers.describe)
    router.add_get("/{path:api/v1|apis/[^/]+/[^/]+}", handlers.describe)
    router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", handlers.token_review)
    router.add_post(f"{_ACCESS}/subjectaccessreviews", handlers.access_review)
    router.add_post(f"{_ACCESS}/selfsubjectaccessreviews", handlers.self_access_review)
    router.add_post(
        "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", handlers.token_request
    )
    router.add_route("*", "/{path:apis?/.*}", handlers.any)


def failures(cluster: Cluster) -> Any:
    """Statuses as answers, and what goes wrong on purpose."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        line = f"{request.method} {request.path}"
        cluster.requests.append(line)
        await cluster.answering.wait()
        fault = cluster.chaos.next(line)
        try:
            match fault:
                case Refused(status):
                    raise status
                case Delayed(by):
                    await asyncio.sleep(by.total_seconds())
                case Dropped(after=False):
                    return _aborted(request)
            answer = await handler(request)
        except Status as status:
            answer = web.json_response(status.body(), status=status.code, headers=status.headers())
        if isinstance(fault, Dropped):
            return _aborted(request)
        return await _half(request, answer) if isinstance(fault, Halved) else answer

    return middleware


def _aborted(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """An answer that is cut off in its middle."""
    body = answer.body if isinstance(answer, web.Response) else None
    whole = body if isinstance(body, bytes) else b"{}"
    response = web.StreamResponse(
        status=answer.status, headers={"Content-Type": "application/json"}
    )
    response.content_length = len(whole)
    await response.prepare(request)
    await response.write(whole[: len(whole) // 2])
    _aborted(request)
    return response


@dataclass
class Handlers:
    """One method for each kind of path; a Status that is raised is the answer."""

    cluster: Cluster

    async def issuer(self, _: web.Request) -> web.Response:
        keys = f"{self.cluster.url}/openid/v1/jwks"
        return web.json_response({"issuer": self.cluster.callers.issuer, "jwks_uri": keys})

    async def keys(self, _: web.Request) -> web.Response:
        return web.json_response(self.cluster.callers.keys())

    async def healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def describe(self, request: web.Request) -> web.Response:
        """What the server has; everybody who is known may ask ("Default roles")."""
        objects, path = self.cluster.objects, request.match_info["path"]
        self._caller(request)
        if path == "version":
            return web.json_response(discovery.version(self.cluster.version))
        if path == "api":
            return web.json_response(discovery.core_versions())
        if path == "apis":
            return web.json_response(discovery.groups(objects))
        group, version = ("", "v1") if path == "api/v1" else path.split("/")[1:]
        found = discovery.resources(objects, group, version)
        if found is None:
            raise Status(404, "NotFound", "the server could not find the requested resource")
        return web.json_response(found)

    async def token_review(self, request: web.Request) -> web.Response:
        self._allow(request, Call("create", "authentication.k8s.io", "tokenreviews"))
        return web.json_response(self.cluster.callers.review(await _object(request)), status=201)

    async def access_review(self, request: web.Request) -> web.Response:
        self._allow(request, Call("create", "authorization.k8s.io", "subjectaccessreviews"))
        made = self.cluster.callers.access_review(await _object(request))
        return web.json_response(made, status=201)

    async def self_access_review(self, request: web.Request) -> web.Response:
        user = self._caller(request)
        made = self.cluster.callers.access_review(await _object(request), user)
        return web.json_response(made, status=201)

    async def token_request(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        self._allow(request, Call("create", "", "serviceaccounts/token", namespace, name))
        made = self.cluster.callers.request(namespace, name, await _object(request))
        return web.json_response(made, status=201)

    async def any(self, request: web.Request) -> web.StreamResponse:
        """Whatever is stored, by the path that it has."""
        found = target(self.cluster.objects.resources, request.match_info["path"])
        self._check_subresource(found)
        return await (self._one(request, found) if found.name else self._all(request, found))

    def _check_subresource(self, named: Target) -> None:
        """404 for one that the kind does not have."""
        home = self.cluster.objects.home(named.resource)
        has = {
            "": True,
            "status": home in self.cluster.objects.with_status,
            "approval": home == CERTIFICATE_SIGNING_REQUESTS,
            "finalize": home == NAMESPACES,
        }
        if not has.get(named.subresource):
            raise Status(404, "NotFound", "the server could not find the requested resource")

    async def _all(self, request: web.Request, named: Target) -> web.StreamResponse:
        asked = Asked(named.resource, named.namespace, request.query)
        objects, chaos = self.cluster.objects, self.cluster.chaos
        match request.method:
            case "POST":
                user = self._may(request, "create", named)
                return await self._create(request, self._write(request, named, user))
            case "DELETE":
                user = self._may(request, "deletecollection", named)
                listed = page(objects, chaos, asked)
                await self._clear(request, named, user)
                return web.json_response(listed)
            case "GET" if asked.is_set("watch"):
                self._may(request, "watch", named)
                return await self._watch(request, asked)
            case "GET":
                self._may(request, "list", named)
                return web.json_response(page(objects, chaos, asked))
        raise _no_such_method()

    async def _create(self, request: web.Request, write: Write) -> web.Response:
        body = await _object(request)
        if write.resource == CERTIFICATE_SIGNING_REQUESTS:
            self.cluster.signers.check(body)
        made = await write.create(body)
        if write.resource == SECRETS and made["type"] == LEGACY_TYPE and not write.dry_run:
            self.cluster.callers.fill(made)
        return _written(write, made, 201)

    async def _clear(self, request: web.Request, named: Target, user: User) -> None:
        objects = self.cluster.objects
        asked = Asked(named.resource, named.namespace, request.query)
        for found in objects.list(named.resource, named.namespace, asked.selects):
            metadata = found["metadata"]
            one = Target(named.resource, metadata.get("namespace", ""), metadata["name"], "")
            await self._write(request, one, user).delete({})

    async def _one(self, request: web.Request, named: Target) -> web.Response:
        verb = _VERBS.get(request.method)
        if verb is None:
            raise _no_such_method()
        objects, resource = self.cluster.objects, named.resource
        user = self._may(request, verb, named)
        write = self._write(request, named, user)
        if verb == "get":
            found = objects.get(resource, named.namespace, named.name)
            return web.json_response(_in_version(write, found))
        if verb == "delete":
            made = await write.delete(await _options(request))
            return _written(write, made, 200)
        if verb == "update":
            made = await write.update(await _object(request))
        else:
            existed = (objects.home(resource), named.namespace, named.name) in objects.stored
            made = await self._patch(request, write)
            if not existed:
                return _written(write, made, 201)
        if resource == CERTIFICATE_SIGNING_REQUESTS and named.subresource == "approval":
            self.cluster.signers.act(made)
        return _written(write, made, 200)

    async def _patch(self, request: web.Request, write: Write) -> Object:
        kind, force = request.content_type, request.query.get("force")
        if kind not in _PATCHES:
            raise Status(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include:"
                f" {', '.join(_PATCHES)}",
            )
        if kind == APPLY_PATCH:
            if not request.query.get("fieldManager"):
                problem = ("fieldManager", "Required value: is required for apply patch")
                raise invalid("PatchOptions.meta.k8s.io", "", problem)
            return await write.apply(await _object(request), force=force == "true")
        if force is not None:
            problem = ("force", "Forbidden: may not be specified for non-apply patch")
            raise invalid("PatchOptions.meta.k8s.io", "", problem)
        return await write.patch(_parsed(await request.text()), kind)

    async def _watch(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """What begins or ceases to be selected comes or goes."""
        objects, streams = self.cluster.objects, self.cluster.streams
        _ = asked.selects, asked.number("timeoutSeconds")
        if asked.version:
            # 410 as a status, not as an event
            list(objects.since(asked.version, asked.resource, asked.namespace))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        stream = Stream()
        streams.open.add(stream)
        await response.prepare(request)
        try:
            await Watch(objects, self.cluster.chaos, asked, response, stream, streams).run()
        finally:
            streams.open.discard(stream)
        if stream.cut.is_set() and not stream.expired:
            _aborted(request)
        return response

    def _may(self, request: web.Request, verb: str, named: Target) -> User:
        resource, name = named.resource, named.name
        plural = f"{resource.plural}/{named.subresource}" if named.subresource else resource.plural
        place = named.namespace
        if resource.plural == "namespaces" and not resource.group:
            place = name  # a role in a namespace may say who sees it
        return self._allow(request, Call(verb, resource.group, plural, place, name))

    def _caller(self, request: web.Request) -> User:
        return self.cluster.callers.caller(request.headers.get("Authorization", ""))

    def _allow(self, request: web.Request, call: Call) -> User:
        user = self._caller(request)
        self.cluster.callers.check(user, call)
        return user

    def _write(self, request: web.Request, named: Target, user: User) -> Write:
        program = request.headers.get("User-Agent", "unknown").partition("/")[0]
        manager = request.query.get("fieldManager") or program
        if len(manager) > _LONGEST_MANAGER:
            problem = ("fieldManager", f"Too long: may not be more than {_LONGEST_MANAGER} bytes")
            raise invalid("PatchOptions.meta.k8s.io", "", problem)
        return Write(
            objects=self.cluster.objects,
            admission=self.cluster.admission,
            user=user,
            resource=named.resource,
            namespace=named.namespace,
            name=named.name,
            subresource=named.subresource,
            dry_run=request.query.get("dryRun") == "All",
            field_validation=request.query.get("fieldValidation", "Warn"),
            manager=manager,
        )


def _in_version(write: Write, found: Object) -> Object:
    """An object in the version that is asked for."""
    return {**found, "apiVersion": write.resource.api_version}


def _written(write: Write, made: Object, status: int) -> web.Response:
    response = web.json_response(_in_version(write, made), status=status)
    for name, value in warning_headers(write.warnings):
        response.headers.add(name, value)
    return response


def _no_such_method() -> Status:
    return Status(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )


async def _options(request: web.Request) -> Object:
    """DeleteOptions, of the body or of the query."""
    text = await request.text()
    body: Mapping[str, Any] = _parsed(text) if text else {}
    policy = request.query.get("propagationPolicy")
    return {**body, **({"propagationPolicy": policy} if policy else {})}


async def _object(request: web.Request) -> Object:
    text = await request.text()
    is_yaml = request.content_type in {"application/yaml", APPLY_PATCH}
    body = _parsed(text, is_yaml=is_yaml)
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized")
    return body


def _parsed(text: str, *, is_yaml: bool = False) -> Any:
    try:
        return yaml.load(text, yaml.CSafeLoader) if is_yaml else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from error
