"""SPIFFE identities as Istio spells them (citadel-and-agent.md A3)."""

import re
from dataclasses import dataclass
from typing import Self

SCHEME = "spiffe://"

_TRUST_DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,253}")


def trust_domain(text: str) -> str:
    """The trust domain in the form that identities carry: ``@`` becomes ``.`` (A3).

    Raises ValueError if the result is not a host-like name (SPIFFE-ID, "2.1").
    """
    name = text.replace("@", ".")
    if not _TRUST_DOMAIN.fullmatch(name):
        raise ValueError(f"trust domain {text!r}: want 1 to 255 of letters, digits, '.', '-', '_'")
    return name


def trust_domain_of(uri: str) -> str:
    """The trust domain of any SPIFFE ID, whatever its path; ValueError if it is not one."""
    if not uri.startswith(SCHEME):
        raise ValueError(f"SPIFFE ID {uri!r}: want the scheme {SCHEME}")
    return trust_domain(uri.removeprefix(SCHEME).partition("/")[0])


@dataclass(frozen=True, order=True)
class SpiffeId:
    """``spiffe://<trust_domain>/ns/<namespace>/sa/<service_account>``.

    Making one checks every part and spells the trust domain as identities do, so ``str`` and
    ``parse`` are inverse. Raises ValueError naming the part.
    """

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "trust_domain", trust_domain(self.trust_domain))
        for part, value in (
            ("namespace", self.namespace),
            ("service account", self.service_account),
        ):
            if not _SEGMENT.fullmatch(value):
                raise ValueError(
                    f"{part} {value!r}: want 1 to 253 of letters, digits, '.', '-', '_'"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an identity; exactly the parts of A3 are wanted, none empty.

        Raises ValueError naming the identity and the part that is wrong.
        """
        parts = text.removeprefix(SCHEME).split("/")
        if not text.startswith(SCHEME) or len(parts) != 5 or (parts[1], parts[3]) != ("ns", "sa"):
            raise ValueError(
                f"identity {text!r}: want spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"
            )
        if "@" in parts[0]:
            raise ValueError(f"identity {text!r}: '@' in the trust domain is written '.'")
        try:
            return cls(trust_domain=parts[0], namespace=parts[2], service_account=parts[4])
        except ValueError as error:
            raise ValueError(f"identity {text!r}: {error}") from error

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"
