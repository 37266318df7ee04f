"""The trust bundles that agents are told: who vouches for which trust domain (A8.3, [M])."""

from collections.abc import Callable, Iterable, Iterator

from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.world.originals import Originals
from mast.pilot.core.xds.resources import TBDS, Resource
from mastapi.trust.v1.trust_pb2 import TrustBundle


def of(originals: Originals) -> Callable[[Scope], Iterable[Resource]]:
    """Gives the bundles as resources, named after their trust domains: the same for everybody."""

    def made(scope: Scope) -> Iterator[Resource]:
        for each in trust_bundles(scope):
            yield originals.resource(each.trust_domain, TBDS, each)

    return made


def trust_bundles(scope: Scope) -> Iterator[TrustBundle]:
    """A bundle for each trust domain that anybody vouches for, sorted by name.

    Our own CA vouches for the aliases of the mesh, too, unless they have a bundle of their own:
    then another mesh goes by that name.
    """
    known = dict(scope.trust)
    own = known.get(scope.mesh.trust_domain)
    for alias in scope.mesh.trust_domains:
        if alias not in known and own is not None:
            stand_in = TrustBundle()
            stand_in.CopyFrom(own)
            stand_in.trust_domain = alias
            known[alias] = stand_in
    for domain in sorted(known):
        yield known[domain]
