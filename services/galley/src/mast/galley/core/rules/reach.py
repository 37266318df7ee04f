"""Which rules of a VirtualService are never reached (B2: catch-all, duplicate, shadowed).

A match is never reached if one of an earlier rule asks for the same, or for less: for the same but
a shorter prefix of the path, or for a prefix of it and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mast.galley.core.problem import Finding, Path, warning

# Longer paths are compared as a whole only.
_PATH_LIMIT = 1024
_ANY_PATH = frozenset({("prefix", "/"), ("regex", ".*"), ("regex", "/.*")})
_NOT_CONDITIONS = ("name", "stat_prefix")


def unreachable(routes: Sequence[Any], at: Path) -> Iterator[Finding]:
    """Warnings for rules and matches of one protocol; `at` is the path of its rules."""
    seen = _Seen()
    catch_all: int | None = None
    for index, route in enumerate(routes):
        if catch_all is not None:
            message = f"never reached: {at[-1]}[{catch_all}] matches every request"
            yield warning((*at, index), "unreachable", message)
            continue
        matches = [_Match.of(match) for match in route.match]
        for number, match in enumerate(matches):
            if (why := seen.before(match, str(at[-1]))) is not None:
                yield warning((*at, index, "match", number), "unreachable", why)
        for match in matches:
            seen.add(match, index)
        if not matches or any(match.is_everything for match in matches):
            catch_all = index


@dataclass(frozen=True, slots=True)
class _Match:
    """A match: all of it, what it wants of the path, and the rest.

    ``path`` is a prefix of the path if ``is_prefix``; none is the empty prefix.
    """

    whole: bytes
    rest: bytes
    path: str
    is_prefix: bool
    is_pattern: bool
    ignores_case: bool

    @staticmethod
    def of(match: Any) -> _Match:
        plain = type(match)()
        plain.CopyFrom(match)
        for name in _NOT_CONDITIONS:
            if name in plain.DESCRIPTOR.fields_by_name:
                plain.ClearField(name)
        whole = plain.SerializeToString(deterministic=True)
        if "uri" not in plain.DESCRIPTOR.fields_by_name:
            return _Match(whole, whole, "", True, False, False)
        uri, ignores_case = match.uri, match.ignore_uri_case
        plain.ClearField("uri")
        plain.ClearField("ignore_uri_case")
        chosen = uri.WhichOneof("match_type")
        path = getattr(uri, chosen) if chosen else ""
        if (chosen, path) in _ANY_PATH:
            chosen, path = None, ""
        rest = plain.SerializeToString(deterministic=True)
        is_prefix = chosen in {None, "prefix"}
        return _Match(whole, rest, path, is_prefix, chosen == "regex", ignores_case)

    @property
    def is_everything(self) -> bool:
        """Whether every request fits."""
        return not self.rest and self.is_prefix and not self.path

    @property
    def known(self) -> str:
        """What every path that fits begins with, as far as that is known."""
        return "" if self.is_pattern or len(self.path) > _PATH_LIMIT else self.path


@dataclass(slots=True)
class _Seen:
    """The matches of earlier rules, and the number of the first rule that has them."""

    wholes: dict[bytes, int] = field(default_factory=dict)
    lengths: set[int] = field(default_factory=set)
    prefixes: dict[tuple[bytes, bool, str], int] = field(default_factory=dict)

    def add(self, match: _Match, rule: int) -> None:
        self.wholes.setdefault(match.whole, rule)
        if match.is_prefix and len(match.path) <= _PATH_LIMIT:
            path = match.path.lower() if match.ignores_case else match.path
            self.lengths.add(len(path))
            self.prefixes.setdefault((match.rest, match.ignores_case, path), rule)

    def before(self, match: _Match, protocol: str) -> str | None:
        """Why a match of a later rule is never reached."""
        if (same := self.wholes.get(match.whole)) is not None:
            return f"never reached: {protocol}[{same}] has the same match"
        for prefix in (match.known[:end] for end in self.lengths if end <= len(match.known)):
            for rest in {match.rest, b""}:
                keys = [(rest, True, prefix.lower())]
                if not match.ignores_case:
                    keys.append((rest, False, prefix))
                for key in keys:
                    if (rule := self.prefixes.get(key)) is not None:
                        return f"never reached: {protocol}[{rule}] matches all of it"
        return None
