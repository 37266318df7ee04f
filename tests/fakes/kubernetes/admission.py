"""Admission webhooks, called over TLS as an API server calls them.

Rules are those of "Dynamic Admission Control" in Kubernetes' documentation.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import ssl
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from mast.common.kubernetes.objects import (
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Object,
    Resource,
)
from tests.fakes.kubernetes.callers import User
from tests.fakes.kubernetes.objects import Objects
from tests.fakes.kubernetes.patches import BadPatch, json_patched
from tests.fakes.kubernetes.status import Status
from tests.fakes.kubernetes.webhook_rules import REVIEWS, rule_matches, selects

GROUP = "admission.k8s.io"
OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
# Its objects are admitted unasked: nobody must lock himself out.
_EXEMPT = "admissionregistration.k8s.io"
_LONGEST_WARNING, _ALL_WARNINGS = 256, 4096


@dataclass(frozen=True)
class Attributes:
    """A write that is to be admitted; ``new`` is None for a deletion, ``old`` for a creation."""

    operation: str
    resource: Resource
    namespace: str
    name: str
    new: Object | None
    old: Object | None
    user: User
    subresource: str = ""
    dry_run: bool = False


class CallFailed(Exception):
    """A webhook gave no answer that counts; its failure policy decides."""


@dataclass
class Admission:
    """The webhooks that are configured among the objects.

    ``services`` says where a Service (namespace, name, port) answers: there is no network of a
    cluster. ``calls`` has every call as ``webhook OPERATION plural name``, ``ignored`` those that
    failed and did not matter.
    """

    objects: Objects
    services: dict[tuple[str, str, int], tuple[str, int]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    async def mutate(self, asked: Attributes, warnings: list[str]) -> Object | None:
        """The object as mutating webhooks make it, one after the other; Status if one denies.

        Those that want it (``reinvocationPolicy: IfNeeded``) are asked once more if another one
        changed the object after them.
        """
        new = copy.deepcopy(asked.new)
        seen: dict[str, Object | None] = {}
        for again in (False, True):
            for key, webhook in self._configured(MUTATING_WEBHOOK_CONFIGURATIONS):
                wanted = webhook["reinvocationPolicy"] == "IfNeeded" and key in seen
                if again and (not wanted or seen[key] == new):
                    continue
                current = replace(asked, new=new)
                if (written := self._matching(webhook, current)) is None:
                    continue
                answer = await self._asked(webhook, current, written, warnings)
                if answer and answer.get("patch"):
                    new = _patched(webhook, new, answer)
                seen[key] = new
        return new

    async def validate(self, asked: Attributes, warnings: list[str]) -> None:
        """All validating webhooks at once; Status if one denies."""
        matching = [
            (webhook, written)
            for _, webhook in self._configured(VALIDATING_WEBHOOK_CONFIGURATIONS)
            if (written := self._matching(webhook, asked)) is not None
        ]

        async def one(webhook: Object, written: Resource) -> Status | None:
            try:
                await self._asked(webhook, asked, written, warnings)
            except Status as status:
                return status
            return None

        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(one(*each)) for each in matching]
        for task in asking:
            if (status := task.result()) is not None:
                raise status

    def _configured(self, kind: Resource) -> Iterator[tuple[str, Object]]:
        for found in self.objects.list(kind, "", lambda _: True):
            for webhook in found.get("webhooks") or ():
                yield f"{found['metadata']['name']}/{webhook['name']}", webhook

    def _matching(self, webhook: Object, asked: Attributes) -> Resource | None:
        """The resource, in the version that the webhook's rules name; None if it is not asked."""
        if asked.resource.group == _EXEMPT or not self._selected(webhook, asked):
            return None
        candidates = [asked.resource]
        if webhook["matchPolicy"] == "Equivalent":
            same = asked.resource.group, asked.resource.plural
            candidates += [
                each
                for each in self.objects.resources.values()
                if (each.group, each.plural) == same and each != asked.resource
            ]
        for candidate in candidates:
            for rule in webhook.get("rules") or ():
                if rule_matches(
                    rule, asked.operation, candidate, asked.subresource, asked.namespace
                ):
                    return candidate
        return None

    def _selected(self, webhook: Object, asked: Attributes) -> bool:
        labels: list[Mapping[str, str]] = [
            (found.get("metadata") or {}).get("labels") or {}
            for found in (asked.new, asked.old)
            if found is not None
        ]
        if not any(selects(webhook["objectSelector"], each) for each in labels):
            return False
        if asked.resource == NAMESPACES:
            return selects(webhook["namespaceSelector"], labels[0])
        if not asked.namespace:
            return True
        home = self.objects.get(NAMESPACES, "", asked.namespace)
        return selects(webhook["namespaceSelector"], home["metadata"].get("labels") or {})

    async def _asked(
        self, webhook: Object, asked: Attributes, written: Resource, warnings: list[str]
    ) -> Object | None:
        """The response; None if the call failed and that does not matter."""
        name = webhook["name"]
        if asked.dry_run and webhook["sideEffects"] not in {"None", "NoneOnDryRun"}:
            message = f'admission webhook "{name}" does not support dry run'
            raise Status(400, "BadRequest", message)
        self.calls.append(f"{name} {asked.operation} {written.plural} {asked.name}")
        try:
            response = await self._call(webhook, asked, written)
        except CallFailed as failed:
            if webhook["failurePolicy"] == "Ignore":
                self.ignored.append(f"{name}: {failed}")
                return None
            message = f'failed calling webhook "{name}": {failed}'
            raise Status(500, "InternalError", f"Internal error occurred: {message}") from failed
        warnings += response.get("warnings") or ()
        if not response["allowed"]:
            raise _denial(name, response.get("status") or {})
        return response

    async def _call(self, webhook: Object, asked: Attributes, written: Resource) -> Object:
        versions = [v for v in webhook["admissionReviewVersions"] if v in REVIEWS]
        if not versions:
            raise CallFailed("no version of reviews in common")
        version = f"{GROUP}/{versions[0]}"
        request = _request(asked, written)
        body = {"kind": "AdmissionReview", "apiVersion": version, "request": request}
        review = await self._posted(webhook, json.dumps(body))
        if not isinstance(review, dict) or (review.get("apiVersion"), review.get("kind")) != (
            version,
            "AdmissionReview",
        ):
            raise CallFailed(f"expected webhook response of {version}, Kind=AdmissionReview")
        response = review.get("response")
        if not isinstance(response, dict):
            raise CallFailed("webhook response was absent")
        if response.get("uid") != request["uid"]:
            raise CallFailed(f'expected response.uid="{request["uid"]}"')
        if not isinstance(response.get("allowed"), bool):
            raise CallFailed("webhook returned response.allowed that is no boolean")
        if response.get("patch") and response.get("patchType") != "JSONPatch":
            raise CallFailed("webhook returned invalid response.patchType")
        return response

    async def _posted(self, webhook: Object, body: str) -> Any:
        client, seconds = webhook["clientConfig"], webhook["timeoutSeconds"]
        url, server_name = self._address(client)
        try:
            context = _context(client.get("caBundle", ""))
            async with (
                asyncio.timeout(seconds),
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
                session.post(
                    f"{url}?timeout={seconds}s",
                    data=body,
                    headers={"Content-Type": "application/json"},
                    server_hostname=server_name,
                    allow_redirects=False,
                ) as answer,
            ):
                text = await answer.text()
                if answer.status != 200:
                    raise CallFailed(f"an error on the server ({answer.status}): {text.strip()}")
                return json.loads(text)
        except TimeoutError as error:
            raise CallFailed(f'failed to call webhook: Post "{url}": deadline exceeded') from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallFailed(f'failed to call webhook: Post "{url}": {error}') from error

    def _address(self, client: Object) -> tuple[str, str | None]:
        """Where to call, and the name that the certificate must have if that is another one."""
        if "url" in client:
            return client["url"], None
        service = client["service"]
        name, namespace = service["name"], service["namespace"]
        found = self.services.get((namespace, name, service.get("port", 443)))
        if found is None:
            raise CallFailed(f'failed to call webhook: service "{name}" not found')
        host, port = found
        return f"https://{host}:{port}{service.get('path', '')}", f"{name}.{namespace}.svc"


def _request(asked: Attributes, written: Resource) -> Object:
    def kind(resource: Resource) -> Object:
        return {"group": resource.group, "version": resource.version, "kind": resource.kind}

    def plural(resource: Resource) -> Object:
        return {"group": resource.group, "version": resource.version, "resource": resource.plural}

    def converted(found: Object | None) -> Object | None:
        return None if found is None else {**found, "apiVersion": written.api_version}

    return {
        "uid": str(uuid.uuid4()),
        "kind": kind(written),
        "resource": plural(written),
        **({"subResource": asked.subresource} if asked.subresource else {}),
        "requestKind": kind(asked.resource),
        "requestResource": plural(asked.resource),
        **({"name": asked.name} if asked.name else {}),
        **({"namespace": asked.namespace} if asked.namespace else {}),
        "operation": asked.operation,
        "userInfo": {"username": asked.user.name, "groups": list(asked.user.groups)},
        "object": converted(asked.new),
        "oldObject": converted(asked.old),
        "dryRun": asked.dry_run,
        "options": {"kind": OPTIONS[asked.operation], "apiVersion": "meta.k8s.io/v1"},
    }


def _context(bundle: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=base64.b64decode(bundle).decode() or None)


def _patched(webhook: Object, target: Object | None, response: Object) -> Object:
    try:
        return json_patched(target, json.loads(base64.b64decode(response["patch"])))
    except (BadPatch, ValueError) as error:
        message = f'webhook "{webhook["name"]}": patch: {error}'
        raise Status(500, "InternalError", f"Internal error occurred: {message}") from error


def _denial(name: str, status: Object) -> Status:
    """No code below 400, and always an explanation."""
    denied = f'admission webhook "{name}" denied the request'
    explained = status.get("message") or status.get("reason")
    message = f"{denied}: {explained}" if explained else f"{denied} without explanation"
    return Status(max(status.get("code", 0), 400), status.get("reason", ""), message)


def warning_headers(warnings: list[str]) -> list[tuple[str, str]]:
    """``Warning`` headers (RFC 7234, 5.5) of distinct texts; what cannot be shown is dropped."""
    distinct = [w for w in dict.fromkeys(warnings) if w.isprintable()]
    if sum(map(len, distinct)) > _ALL_WARNINGS:
        distinct = [w[:_LONGEST_WARNING] for w in distinct]
    shown = []
    left = _ALL_WARNINGS
    for text in distinct:
        left -= len(text)
        if left < 0:
            break
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        shown.append(("Warning", f'299 - "{quoted}"'))
    return shown
