"""Templates of request paths: `{*}` is one part, `{**}` any number of them (AuthorizationPolicy).

Envoy aborts over a template that it cannot read (pilot.md J4), so nothing else may reach it.
"""

import re
from typing import Final

ONE_PART: Final = "{*}"
ANY_PARTS: Final = "{**}"
MAX_LENGTH: Final = 256
"""Characters that Envoy takes."""

_BRACES: Final = re.compile(r"[{}]")
_LITERAL: Final = re.compile(r"[-a-zA-Z0-9._~%!$&'()+,;:@=]+")


def is_template(path: str) -> bool:
    """Whether a path is a template, though maybe a bad one: it has braces."""
    return _BRACES.search(path) is not None


def uri_template(path: str) -> str:
    """The path as a template of Envoy's, `*` for one part, `**` for any number.

    An operator is a whole part of the path, and none follows `{**}`; one `/` may end the path.
    Raises `ValueError` that says what is wrong.
    """
    if not path.startswith("/"):
        raise ValueError(f"{path!r} must begin with '/'")
    parts = path[1:].removesuffix("/").split("/")
    ended = False
    for part in parts:
        if part in (ONE_PART, ANY_PARTS):
            if ended:
                raise ValueError(f"{path!r}: no {ONE_PART} or {ANY_PARTS} may follow {ANY_PARTS}")
            ended = part == ANY_PARTS
        elif not _LITERAL.fullmatch(part):
            raise ValueError(
                f"{path!r}: {part!r} cannot be a part of a template; allowed: {ONE_PART},"
                f" {ANY_PARTS}, or letters, digits and -._~%!$&'()+,;:@="
            )
    template = path.replace(ANY_PARTS, "**").replace(ONE_PART, "*")
    if len(template) > MAX_LENGTH:
        raise ValueError(f"{path!r} is too long a template; allowed: {MAX_LENGTH} characters")
    return template


def regex(path: str) -> str:
    """A regular expression (RE2) for the same paths; raises `ValueError` as `uri_template`."""
    template = re.escape(uri_template(path))
    return template.replace(r"\*\*", ".*").replace(r"\*", "[^/]+")
