"""DNS names and e-mail addresses as the expression language reads them (mixer.md E22, E23)."""

from __future__ import annotations

import re
import unicodedata

import idna

from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.lang.memory import remembered

_LONGEST = 1000
"""Characters of a label in Unicode or punycode: reading them takes time by the square of it."""


@remembered
def dns_name(name: str) -> str:
    """The name with punycode labels decoded, in NFC, case kept; one trailing dot may stay.

    Labels must not be empty, begin or end with a hyphen, or have ``--`` in the third and fourth
    place unless they are punycode. Raises EvaluationError.
    """
    try:
        return ".".join([_label(label) for label in _labels(name)]) + _dot(name)
    except ValueError as error:
        reason = f'idna: invalid label "{error}"'
        raise EvaluationError(f"error converting '{name}' to dns name: '{reason}'") from error


def _labels(name: str) -> list[str]:
    return name.removesuffix(".").split(".")


def _dot(name: str) -> str:
    return "." if name.endswith(".") else ""


def _label(label: str) -> str:
    """A label as shown; ValueError with the label if it is not allowed."""
    _check_length(label)
    if label[:4].lower() == "xn--":
        try:
            decoded = label[4:].encode("ascii").decode("punycode")
        except (UnicodeError, IndexError):
            decoded = ""
        if not decoded or decoded.isascii():
            raise ValueError(label)
        label = decoded
    elif label[2:4] == "--":
        raise ValueError(label)
    if not label or label[0] == "-" or label[-1] == "-":
        raise ValueError(label)
    return unicodedata.normalize("NFC", label)


def _check_length(label: str) -> None:
    if len(label) > _LONGEST and (not label.isascii() or label[:4].lower() == "xn--"):
        raise ValueError(label)


@remembered
def _lookup_form(name: str) -> str:
    """The form in which names are compared: mapped for lookup, without the trailing dot (E22)."""
    try:
        for label in _labels(name):
            _check_length(label)
        mapped = idna.uts46_remap(name.removesuffix("."), std3_rules=True, transitional=False)
        return ".".join([_label(label) for label in mapped.split(".")])
    except ValueError as error:
        reason = f'idna: invalid label "{name}"'
        raise EvaluationError(f"error converting '{name}' to dns name: '{reason}'") from error


def same_dns_name(left: str, right: str) -> bool:
    """Whether two names are one in DNS: case-insensitive, a trailing dot ignored (E22)."""
    return _lookup_form(left) == _lookup_form(right)


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\U0010ffff]+"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED = r'"(?:[^"\\\r\n]|\\[^\r\n])*"'
_BARE = re.compile(
    rf"(?P<angle><\s*)?(?P<local>{_DOT_ATOM}|{_QUOTED})@(?P<domain>{_DOT_ATOM})(?(angle)\s*>)"
)


def _parts(address: str) -> tuple[str, str]:
    """Local part, unquoted, and domain of an address; ValueError says what is wrong."""
    given = address.strip()
    if not given:
        raise ValueError("mail: no address")
    bare = _BARE.fullmatch(given)
    if bare is None:
        name, less, _ = given.partition("<")
        if name and less and _BARE.fullmatch(given[len(name) :]):
            raise LookupError
        if "@" not in address:
            raise ValueError("mail: missing '@' or angle-addr")
        raise ValueError("mail: expected single address")
    local = bare["local"]
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return local, bare["domain"]


@remembered
def email(address: str) -> str:
    """The address as it is, if it is one without display name (RFC 5322); else EvaluationError."""
    _email_parts(address)
    return address


def _email_parts(address: str) -> tuple[str, str]:
    try:
        local, domain = _parts(address)
    except LookupError as error:
        reason = "display names are not allowed"
        raise EvaluationError(f"error converting '{address}' to e-mail: {reason}") from error
    except ValueError as error:
        raise EvaluationError(f"error converting '{address}' to e-mail: '{error}'") from error
    try:
        dns_name(domain)
    except EvaluationError as error:
        raise EvaluationError(f"error converting '{address}' to e-mail: '{error}'") from error
    return local, domain


def same_email(left: str, right: str) -> bool:
    """Whether two addresses are one: local parts exact once unquoted, domains as DNS (E23)."""
    left_local, left_domain = _email_parts(left)
    right_local, right_domain = _email_parts(right)
    return left_local == right_local and same_dns_name(left_domain, right_domain)
