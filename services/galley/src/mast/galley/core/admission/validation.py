"""The verdict on a configuration object that is about to be stored in Kubernetes (A3.1, A3.2).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mast.common.kinds import BY_GROUP_KIND, Kind
from mast.galley.core.admission.review import Review, Verdict
from mast.galley.core.documents import DEPTH_LIMIT, NODE_LIMIT
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_json
from mast.galley.core.problem import Problem, Severity, errors

OPERATIONS = frozenset({"CREATE", "UPDATE"})

# Findings that a message names; the others are counted.
FINDINGS_SHOWN = 20

UNDECODABLE, UNKNOWN = "yaml_decode_error", "unknown_type"
"""Reasons other than the rule that was broken, by Istio's words."""


def verdict(asked: Review, defaults: Defaults) -> Verdict:
    """Whether the object may be stored, and what its author should know.

    Allowed unseen are other operations than CREATE and UPDATE, subresources (who writes a status
    cannot mend the specification), and updates that leave the specification of an object as it was
    while the object is being deleted: its finalizers must be able to go. The version of a kind does
    not matter: API servers convert (A3.1).
    """
    if asked.operation not in OPERATIONS or asked.subresource or _is_leaving(asked):
        return Verdict(True, judged=False)
    content = asked.content
    if undecodable := complaint(content):
        return _denied(UNDECODABLE, f"cannot decode configuration: {undecodable}")
    kind = kind_of(content)
    if kind is None:
        named = f"{content.get('kind')!r} of {content.get('apiVersion')!r}"
        return _denied(UNKNOWN, f"unrecognized type {named[:200]}")
    tree = {**content, "apiVersion": kind.api_version}
    here = replace(defaults, namespace=asked.namespace or defaults.namespace)
    reading = read_json(tree, "", here)
    problems = judge(reading, defaults.compat).problems
    wrong = errors(problems)
    told = tuple(_told(each) for each in problems if each.severity is Severity.WARNING)
    if wrong:
        message = f"configuration is invalid: {_joined(wrong)}"
        return Verdict(False, message, wrong[0].rule, told)
    return Verdict(True, warnings=told)


def kind_of(content: Any) -> Kind | None:
    """The kind by group and name; those of Kubernetes itself (the core group) are none of ours."""
    if not isinstance(content, dict):
        return None
    version, name = content.get("apiVersion"), content.get("kind")
    if not isinstance(version, str) or not isinstance(name, str):
        return None
    group = version.rpartition("/")[0]
    return BY_GROUP_KIND.get((group, name)) if group else None


def _is_leaving(asked: Review) -> bool:
    new, old = asked.content, asked.before
    if asked.operation != "UPDATE" or not isinstance(new, dict) or not isinstance(old, dict):
        return False
    metadata = new.get("metadata")
    ending = isinstance(metadata, dict) and bool(metadata.get("deletionTimestamp"))
    return ending and bool(new.get("spec") == old.get("spec"))


def complaint(content: Any) -> str:
    """Why an object cannot be judged at all, "" if it can be: what is judged is bounded."""
    if not isinstance(content, dict):
        return "the request has no object"
    level: list[Any] = [content]
    depth = count = 0
    while level:
        depth += 1
        if depth > DEPTH_LIMIT:
            return f"nested deeper than {DEPTH_LIMIT} levels"
        below = list(_below(level))
        count += len(below)
        if count > NODE_LIMIT:
            return f"more than {NODE_LIMIT} values"
        level = []
        for value in below:
            if isinstance(value, dict | list):
                level.append(value)
            elif isinstance(value, str) and not (value.isascii() or _is_unicode(value)):
                return "a text has half of a surrogate pair"
    return ""


def _below(level: Sequence[Any]) -> Iterator[Any]:
    for value in level:
        if isinstance(value, dict):
            yield from value
            yield from value.values()
        else:
            yield from value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _denied(reason: str, message: str) -> Verdict:
    return Verdict(False, message, reason)


def _joined(wrong: Sequence[Problem]) -> str:
    shown = [_told(problem) for problem in wrong[:FINDINGS_SHOWN]]
    if more := len(wrong) - len(shown):
        shown.append(f"and {more} more")
    return "; ".join(shown)


def _told(problem: Problem) -> str:
    """``Kind ns/name: path: message [rule]``; where it stood in a file nobody knows here."""
    named = f"{problem.namespace}/{problem.name}" if problem.namespace else problem.name
    about = f"{problem.kind} {named}".strip()
    return ": ".join(filter(None, (about, problem.path, f"{problem.message} [{problem.rule}]")))
