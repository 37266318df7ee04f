"""SDS names into secrets: found where files hold them, never with a private key."""

from __future__ import annotations

from typing import Any

import pytest

from mast.cli.envoy.plain import plain
from mast.cli.offline.documents import Secret
from mast.cli.offline.secrets import secret

KNOWN = {
    (each.namespace, each.name): each
    for each in (
        Secret("shop", "web", {"tls.crt": b"cert", "tls.key": b"KEY", "tls.ocsp-staple": b"ocsp"}),
        Secret("shop", "mutual", {"cert": b"cert", "key": b"KEY", "cacert": b"roots"}),
        Secret("shop", "apart", {"tls.crt": b"cert", "tls.key": b"KEY"}),
        Secret("shop", "apart-cacert", {"ca.crt": b"roots", "ca.crl": b"revoked"}),
        Secret("shop", "half", {"tls.crt": b"cert"}),
        Secret("shop", "roots", {"ca.crt": b"roots"}, config_map=True),
    )
}
CERT = {
    "certificateChain": {"inlineBytes": "Y2VydA=="},
    "privateKey": {"inlineString": "[redacted]"},
}
ROOTS = {"trustedCa": {"inlineBytes": "cm9vdHM="}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            "kubernetes://web",
            {"tlsCertificate": {**CERT, "ocspStaple": {"inlineBytes": "b2NzcA=="}}},
            id="own-namespace",
        ),
        pytest.param("kubernetes-gateway://shop/mutual", {"tlsCertificate": CERT}, id="gateway"),
        pytest.param("kubernetes://mutual-cacert", {"validationContext": ROOTS}, id="roots-inside"),
        pytest.param(
            "kubernetes://shop/apart-cacert",
            {"validationContext": {**ROOTS, "crl": {"inlineBytes": "cmV2b2tlZA=="}}},
            id="roots-apart",
        ),
        pytest.param("configmap://shop/roots", {"validationContext": ROOTS}, id="config-map"),
        pytest.param("kubernetes://roots", {}, id="config-map-is-no-secret"),
        pytest.param("kubernetes://half", {}, id="no-key"),
        pytest.param("kubernetes://web-cacert", {}, id="no-roots"),
        pytest.param("kubernetes://other/web", {}, id="other-namespace"),
        pytest.param("default", {}, id="workload"),
        pytest.param("file-root:/etc/ca.pem", {}, id="file"),
    ],
)
def test_secret(name: str, expected: dict[str, Any]) -> None:
    made = secret(name, "shop", KNOWN)
    assert plain(made) == {"name": name, **expected}
    assert b"KEY" not in made.SerializeToString()
