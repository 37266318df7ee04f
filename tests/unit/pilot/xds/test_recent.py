"""Results are kept while they are used."""

from mast.pilot.core.xds.recent import Recent


def test_what_is_not_used_is_forgotten_after_two_generations():
    recent, made = Recent(), []

    def make():
        made.append(1)
        return object()

    first = recent.get("k", None, make)
    recent.age()
    assert recent.get("k", None, make) is first
    recent.age()
    recent.age()
    assert recent.get("k", None, make) is not first
    assert len(made) == 2
