"""Users and groups of this machine by their names."""

import grp
import pwd
import re
from collections.abc import Sequence

_NUMBERS = re.compile(r"\*|\d+(-\d+)?")


def uids(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Numbers of users; ranges and ``*`` stay. Raises ValueError for a name nobody has."""
    return tuple(text if _NUMBERS.fullmatch(text) else _uid(flag, text) for text in texts)


def gids(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Numbers of groups; ranges and ``*`` stay. Raises ValueError for a name no group has."""
    return tuple(text if _NUMBERS.fullmatch(text) else _gid(flag, text) for text in texts)


def _uid(flag: str, name: str) -> str:
    try:
        return str(pwd.getpwnam(name).pw_uid)
    except KeyError as error:
        raise ValueError(f"{flag} {name!r}: no such user; want a name or a number") from error


def _gid(flag: str, name: str) -> str:
    try:
        return str(grp.getgrnam(name).gr_gid)
    except KeyError as error:
        raise ValueError(f"{flag} {name!r}: no such group; want a name or a number") from error
