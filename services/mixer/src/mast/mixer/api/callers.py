"""What a proxy says of itself must agree with its certificate (docs/security.md)."""

from __future__ import annotations

from mast.common.identity.spiffe import SpiffeId
from mast.mixer.api.errors import Context, NotAllowed

_SANS = "x509_subject_alternative_name"


def check_reporter(context: Context, uid: str) -> None:
    """Raises NotAllowed if a caller reports as a workload of another namespace than its own.

    ``uid`` is ``kubernetes://NAME.NAMESPACE``. Callers without TLS are on this machine, and
    believed.
    """
    presented = context.auth_context()
    if b"ssl" not in presented.get("transport_security_type", ()):
        return
    known = [name.decode() for name in presented.get(_SANS, ())]
    if uid.rpartition(".")[2] not in _namespaces(known):
        raise NotAllowed(f"{', '.join(known) or 'nobody'} may not report as {uid or 'nobody'}")


def _namespaces(names: list[str]) -> set[str]:
    found = set()
    for name in names:
        try:
            found.add(SpiffeId.parse(name).namespace)
        except ValueError:
            continue
    return found
