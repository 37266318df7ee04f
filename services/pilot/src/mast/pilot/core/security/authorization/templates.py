"""Path templates: `{*}` stands for one part of a path, `{**}` for any number of them."""

import re
from typing import Final

from mast.pilot.core.security.authorization.values import Unusable

ONE_PART: Final = "{*}"
ANY_PARTS: Final = "{**}"

_BRACES: Final = re.compile(r"[{}]")
_LITERAL: Final = re.compile(r"[-a-zA-Z0-9._~%!$&'()+,;:@=]+")


def is_template(path: str) -> bool:
    """Whether a path is a template, though maybe a bad one."""
    return _BRACES.search(path) is not None


def uri_template(path: str) -> str:
    """The path as a template of Envoy's; raises `Unusable` for one that would abort Envoy (J4).

    An operator is a whole part of the path, and none follows `{**}`.
    """
    if not path.startswith("/"):
        raise Unusable(f"{path!r} must begin with '/'")
    parts = path[1:].split("/")
    if parts[-1] == "":
        parts.pop()  # one '/' at the end is fine
    ended = False
    for part in parts:
        if part in (ONE_PART, ANY_PARTS):
            if ended:
                raise Unusable(f"{path!r}: {ANY_PARTS} must be the last operator")
            ended = part == ANY_PARTS
        elif not _LITERAL.fullmatch(part):
            raise Unusable(
                f"{path!r}: {part!r} is no part of a template; allowed: {ONE_PART}, {ANY_PARTS},"
                " letters, digits and -._~%!$&'()+,;:@="
            )
    return path.replace(ANY_PARTS, "**").replace(ONE_PART, "*")


def regex(path: str) -> str:
    """The path as a regular expression, for those who know no templates; raises `Unusable`."""
    template = uri_template(path)
    return re.escape(template).replace(r"\*\*", ".*").replace(r"\*", "[^/]+")
