"""The signers of a fake API server: what becomes of approved CertificateSigningRequests."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mast.common.kubernetes.objects import CERTIFICATE_SIGNING_REQUESTS, Object
from tests.fakes.kubernetes.objects import Objects
from tests.fakes.kubernetes.status import Status
from tests.support.pki import Ca, pem, wall_clock


@dataclass
class Signers:
    """CAs by signer name; ``silent`` ones never answer, ``failing`` ones say so."""

    objects: Objects
    by_name: dict[str, Ca] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    # Those that answer with the leaf and intermediates only.
    without_roots: set[str] = field(default_factory=set)

    def check(self, body: Object) -> None:
        """What admission wants of a request: a signer, a CSR that parses, usages."""
        spec = body.get("spec", {})
        try:
            x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
        except (KeyError, ValueError) as error:
            raise Status(422, "Invalid", "spec.request: Invalid value") from error
        if "/" not in spec.get("signerName", "") or not spec.get("usages"):
            raise Status(422, "Invalid", "spec.signerName, spec.usages: Required value")
        if spec.get("expirationSeconds", 3600) < 600:
            raise Status(422, "Invalid", "spec.expirationSeconds: may not be less than 600")

    def act(self, request: Object) -> None:
        """Sign, or fail, a request that was just approved."""
        spec, status = request["spec"], request.get("status", {})
        approved = any(each["type"] == "Approved" for each in status.get("conditions", ()))
        signer = spec["signerName"]
        if not approved or status.get("certificate") or signer in self.silent:
            return
        conditions = list(status["conditions"])
        if signer in self.failing or signer not in self.by_name:
            conditions.append(
                {"type": "Failed", "status": "True", "reason": "SignerValidationFailure"}
            )
            new = {**status, "conditions": conditions}
        else:
            chain = self._signed(self.by_name[signer], spec)
            new = {**status, "certificate": base64.b64encode(chain).decode()}
        name = request["metadata"]["name"]
        self.objects.update(CERTIFICATE_SIGNING_REQUESTS, "", name, {"status": new}, "status")

    def _signed(self, ca: Ca, spec: Object) -> bytes:
        csr = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        now = wall_clock()
        leaf = (
            x509.CertificateBuilder()
            .subject_name(csr.subject)
            .issuer_name(ca.certificate.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(seconds=spec.get("expirationSeconds", 3600)))
            .add_extension(san.value, critical=True)
            .sign(ca.key, hashes.SHA256())
        )
        above = (ca.certificate, *ca.issuers)
        if spec["signerName"] in self.without_roots:
            above = above[:-1]
        return b"".join(map(pem, (leaf, *above)))
