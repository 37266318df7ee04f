"""Other CAs that the mesh settings want trusted (citadel-and-agent.md A8.3, A8.4)."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.citadel.core.federation import Wanted, others, wanted
from tests.support.pki import Ca
from tests.unit.citadel.examples import DOMAIN

ONE, TWO, THREE = (Ca.root(name) for name in ("one", "two", "three"))
URL = "https://b.example/bundle"


def settings(*entries: dict[str, object]) -> MeshConfig:
    return ParseDict({"caCertificates": list(entries)}, MeshConfig())


def test_what_the_mesh_settings_want() -> None:
    want = wanted(
        settings(
            {"pem": (ONE.pem + TWO.pem).decode()},
            {"pem": THREE.pem.decode(), "trustDomains": ["b.example", "c.example"]},
            {"spiffeBundleUrl": URL, "trustDomains": ["b.example"]},
            {"spiffeBundleUrl": "https://ours.example"},
        ),
        DOMAIN,
    )
    assert want == Wanted(
        {
            DOMAIN: frozenset((ONE.certificate, TWO.certificate)),
            "b.example": frozenset((THREE.certificate,)),
            "c.example": frozenset((THREE.certificate,)),
        },
        {URL: frozenset(("b.example",)), "https://ours.example": frozenset((DOMAIN,))},
    )
    assert want.anchors(URL) == frozenset((THREE.certificate,)), "they vouch for the endpoint"
    assert want.anchors("https://elsewhere.example") == frozenset()


def test_no_settings_want_nobody() -> None:
    assert wanted(None, DOMAIN) == wanted(MeshConfig(), DOMAIN) == Wanted()


def test_an_entry_that_cannot_be_used_hurts_only_itself() -> None:
    """Galley refuses it; what was stored before does not end federation."""
    want = wanted(settings({"pem": "nothing"}, {"pem": ONE.pem.decode()}), DOMAIN)
    assert want.given == {DOMAIN: frozenset((ONE.certificate,))}
    (problem,) = want.problems
    assert problem.startswith("caCertificates[0].pem: ")


def test_what_is_given_and_what_was_fetched_count_by_domain() -> None:
    want = wanted(
        settings(
            {"pem": ONE.pem.decode(), "trustDomains": ["b.example"]},
            {"spiffeBundleUrl": URL, "trustDomains": ["b.example", "c.example"]},
            {"spiffeBundleUrl": "https://away.example", "trustDomains": ["d.example"]},
        ),
        DOMAIN,
    )
    known = {URL: (TWO.certificate,), "https://no-more.example": (THREE.certificate,)}
    assert others(want, known) == {
        "b.example": frozenset((ONE.certificate, TWO.certificate)),
        "c.example": frozenset((TWO.certificate,)),
    }
