"""Files of roots, kinds of keys (citadel-and-agent.md B2)."""

from __future__ import annotations

import pytest

from mast.agent.core.trust import ca_root_file, key_algorithm, xds_root_files

MESH = "./var/run/secrets/istio/root-cert.pem"
MOUNTED = "./etc/certs/root-cert.pem"


@pytest.mark.parametrize(
    ("explicit", "provider", "provisioned", "path"),
    [
        ("", "istiod", "", MESH),
        ("", "custom", "", MOUNTED),
        ("", "istiod", "/etc/certs", "/etc/certs/root-cert.pem"),
        ("/x.pem", "custom", "/etc/certs", "/x.pem"),
        ("SYSTEM", "istiod", "", "SYSTEM"),
    ],
)
def test_ca_root(explicit: str, provider: str, provisioned: str, path: str) -> None:
    assert ca_root_file(explicit, provider, provisioned) == path


@pytest.mark.parametrize(
    ("explicit", "provisioned", "candidates"),
    [
        ("", "", (MOUNTED, MESH)),
        ("", "/p", (MOUNTED, "/p/root-cert.pem", MESH)),
        ("/x.pem", "/p", ("/x.pem",)),
    ],
)
def test_xds_root(explicit: str, provisioned: str, candidates: tuple[str, ...]) -> None:
    assert xds_root_files(explicit, provisioned) == candidates


@pytest.mark.parametrize(
    ("ecc", "curve", "rsa", "kind"),
    [
        ("", "P256", 0, "P256"),
        ("ECDSA", "P384", 2048, "P384"),
        ("", "P256", 4096, "RSA4096"),
    ],
)
def test_key_algorithm(ecc: str, curve: str, rsa: int, kind: str) -> None:
    assert key_algorithm(ecc, curve, rsa) == kind


@pytest.mark.parametrize(
    ("ecc", "curve", "rsa", "problem"),
    [
        ("EdDSA", "P256", 0, "ECC_SIGNATURE_ALGORITHM 'EdDSA'"),
        ("ECDSA", "P521", 0, "ECC_CURVE 'P521'"),
        ("", "P256", 1024, "WORKLOAD_RSA_KEY_SIZE 1024"),
    ],
)
def test_weak_or_unknown_keys(ecc: str, curve: str, rsa: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        key_algorithm(ecc, curve, rsa)
