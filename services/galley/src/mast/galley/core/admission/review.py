"""AdmissionReviews: what an API server asks, and what it is answered (A3.1).

Section numbers are those of galley-and-kubernetes.md; the messages are those of
``admission.k8s.io`` in Kubernetes' API.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

VERSIONS = ("admission.k8s.io/v1", "admission.k8s.io/v1beta1")
KIND = "AdmissionReview"

# What API servers show of warnings: longer ones, and more of them, are cut there.
WARNING_LENGTH = 256
WARNINGS_LENGTH = 4096

Content = Mapping[str, Any]


class BadReview(Exception):
    """A body that is no AdmissionReview, so that nobody can be answered; says what is wrong."""


@dataclass(frozen=True, slots=True)
class Review:
    """One request of an API server.

    ``group``, ``version``, ``resource`` and ``subresource`` say what is written; ``content`` is the
    object as it would be stored and ``before`` as it is stored, None where there is none.
    """

    api_version: str
    uid: str
    operation: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    content: Any = None
    before: Any = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request.

    ``message`` says why it is denied, and ``reason`` the same in a word for metrics. ``judged`` is
    false for what was let through unseen. ``patch`` are operations of a JSON patch (RFC 6902).
    """

    allowed: bool
    message: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()
    patch: Sequence[Content] = ()
    judged: bool = True


Judge = Callable[[Review], Verdict]


def review(body: bytes) -> Review:
    """The request in the body of a call; raises BadReview.

    A request without ``uid`` is none: the API server takes no answer without it.
    """
    try:
        content = json.loads(body.decode(), parse_constant=_no_number)
    except RecursionError as error:
        raise BadReview("the body is nested too deeply") from error
    except ValueError as error:
        raise BadReview(f"the body is no JSON: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise BadReview(f"the body is no {KIND}")
    version = content.get("apiVersion")
    if version not in VERSIONS:
        raise BadReview(f"apiVersion {_short(version)}; allowed: {', '.join(VERSIONS)}")
    request = content.get("request")
    if not isinstance(request, dict):
        raise BadReview(f"the {KIND} has no request")
    uid = _text(request, "uid")
    if not uid:
        raise BadReview("request.uid is required")
    resource = request.get("resource")
    resource = resource if isinstance(resource, dict) else {}
    return Review(
        api_version=version,
        uid=uid,
        operation=_text(request, "operation"),
        group=_text(resource, "group"),
        version=_text(resource, "version"),
        resource=_text(resource, "resource"),
        subresource=_text(request, "subResource"),
        namespace=_text(request, "namespace"),
        name=_text(request, "name"),
        content=request.get("object"),
        before=request.get("oldObject"),
        dry_run=request.get("dryRun") is True,
    )


def answer(asked: Review, verdict: Verdict) -> dict[str, Any]:
    """The review to send back, in the version that was asked in."""
    response: dict[str, Any] = {"uid": asked.uid, "allowed": verdict.allowed}
    if verdict.message:
        response["status"] = {"message": verdict.message}
    if verdict.warnings:
        response["warnings"] = list(fitting(verdict.warnings))
    if verdict.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(list(verdict.patch)).encode()).decode()
    return {"apiVersion": asked.api_version, "kind": KIND, "response": response}


def fitting(warnings: Sequence[str]) -> list[str]:
    """Warnings as they can be shown: each of a line, all within what API servers pass on."""
    shown: list[str] = []
    left = WARNINGS_LENGTH
    for index, text in enumerate(warnings):
        line = "".join(c if c.isprintable() else " " for c in text)
        line = line if len(line) <= WARNING_LENGTH else f"{line[: WARNING_LENGTH - 1]}…"
        size = len(line.encode())
        if size > left - WARNING_LENGTH // 4:
            return [*shown, f"and {len(warnings) - index} more warnings"]
        left -= size
        shown.append(line)
    return shown


def _text(content: Content, name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
