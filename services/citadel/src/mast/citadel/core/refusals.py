"""Why Citadel issues no certificate (citadel-and-agent.md A4)."""

from typing import ClassVar


class Refusal(Exception):
    """``str`` is what the caller is told, ``reason`` what the log is told."""

    template: ClassVar[str] = "{reason}"

    def __init__(self, reason: str) -> None:
        super().__init__(self.template.format(reason=reason))
        self.reason = reason


class Unauthenticated(Refusal):
    """No authenticator gave an identity; the caller learns nothing more."""

    template = "request authenticate failure"


class ImpersonationRefused(Refusal):
    """The caller may not ask for another identity than its own."""

    template = "request impersonation authentication failure"


class CredentialsUnverifiable(Refusal):
    """What would tell a good credential from a bad one does not answer; trying again may help."""

    template = "credentials cannot be verified at the moment"


class RateLimited(Refusal):
    """The peer called too often."""

    template = "too many requests"


class CsrError(Refusal):
    """Everything that goes wrong after authentication; ``label`` is the value in metrics."""

    template = "CSR signing error ({reason})"
    label: ClassVar[str]


class CaNotReady(CsrError):
    """There is nothing to sign with."""

    label = "CA_NOT_READY"


class BadCsr(CsrError):
    """The CSR is unreadable, not signed by its key, or for a key that is not accepted."""

    label = "CSR_ERROR"


class TtlTooLong(CsrError):
    """More lifetime is asked for than any certificate may have."""

    label = "TTL_ERROR"


class SigningFailed(CsrError):
    """The certificate could not be made; the caller is not told why."""

    template = "CSR signing error (signing failed)"
    label = "CERT_GEN_ERROR"
