"""What Galley accepts, Envoy accepts: no NACK, no warning, no crash, nothing that never gets ready.

Cases are meshes of drawn objects, told to a running Envoy one after the other. MAST_CASES says how
many (2,000 by default; `tox -e fuzz` takes 100,000), MAST_SEED with which seed their first series
is drawn. A seed stands for the same cases whenever; a failing one is shrunk and shown as YAML.

No case is made of parts of another, as most of Hypothesis' own are: 5,000 of those have fewer
objects that differ from each other than 2,000 of these.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

from tests.property.hostile.meshes import PROXIES, Mesh
from tests.property.hostile.objects import candidates
from tests.property.hostile.usage import ordinary
from tests.support.accepted import Candidate, accepted, complaints, document
from tests.support.envoy_feed import envoy_feed
from tests.support.envoy_server import validate
from tests.support.golden_view import Resources, static

Judge = Callable[[Resources], Sequence[str]]

CASES = int(os.environ.get("MAST_CASES", "2000"))
SEED = int(os.environ.get("MAST_SEED", "0"))
SERIES = 200
"""Cases that one Envoy is told of, all for one proxy."""

AVAILABLE_PROVIDERS["fresh"] = f"{HypothesisProvider.__module__}.{HypothesisProvider.__name__}"
"""The choices are Hypothesis' own, but it does not mutate cases of a backend by another name."""


@pytest.fixture
def envoy(tmp_path: Path) -> Iterator[Judge]:
    """What a running Envoy complains of when it is configured with some resources alone."""
    with asyncio.Runner() as runner:
        feeding = envoy_feed(tmp_path)
        feed = runner.run(feeding.__aenter__())
        try:
            yield lambda found: runner.run(feed.give(found))
        finally:
            runner.run(feeding.__aexit__(None, None, None))


@pytest.mark.parametrize("candidate", list(ordinary()), ids=str)
def test_ordinary_objects_are_not_refused(candidate: Candidate) -> None:
    assert complaints(candidate) == []


@pytest.mark.parametrize("name", PROXIES)
def test_envoy_takes_ordinary_objects(envoy: Judge, name: str) -> None:
    mesh, everything = Mesh(), list(ordinary())
    settings = [each for each in everything if each.kind.name == "MeshConfig"]
    for each in settings:
        found = mesh.resources(accepted([each, *everything]), PROXIES[name])
        assert found.clusters
        assert found.listeners
        assert list(envoy(found)) == []


@pytest.mark.parametrize("name", PROXIES)
def test_ordinary_objects_make_nothing_deprecated(tmp_path: Path, name: str) -> None:
    """``--mode validate`` warns of nothing either (pilot.md, acceptance 35).

    Envoy dies in this mode of clusters whose secrets come over ADS.
    """
    objects = accepted(each for each in ordinary() if "credentialName" not in str(each.spec))
    validate(static(Mesh().resources(objects, PROXIES[name])), tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(SEED, SEED + -(-CASES // SERIES)), ids="seed-{}".format)
def test_envoy_takes_what_galley_accepts(envoy: Judge, seed: int) -> None:
    proxy, mesh = tuple(PROXIES.values())[seed % len(PROXIES)], Mesh()

    @hypothesis.seed(seed)
    @settings(
        max_examples=min(SERIES, CASES),
        deadline=None,
        database=None,
        backend="fresh",
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(candidates(), min_size=1, max_size=6))
    def takes(drawn: Sequence[Candidate]) -> None:
        objects = accepted(drawn)
        if refusals := envoy(mesh.resources(objects, proxy)):
            shown = yaml.safe_dump_all([document(each) for each in objects], allow_unicode=True)
            pytest.fail("\n".join((f"MAST_SEED={seed}:", *refusals, shown)))

    takes()
