"""A view with the changes that users' EnvoyFilters make to all that is generated (pilot.md K)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from mast.pilot.core.gateways.servers import Translation, translation
from mast.pilot.core.model.proxy import ProxyType
from mast.pilot.core.patches.patch import PatchName
from mast.pilot.core.patches.patcher import PATCHED, Patcher
from mast.pilot.core.scope.audience import Audience, targets
from mast.pilot.core.scope.families import Family, Member
from mast.pilot.core.scope.memo import Reads
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.world.originals import required
from mast.pilot.core.world.view import MeshView
from mast.pilot.core.xds.resources import BOOTSTRAP, CDS, ECDS, LDS, RDS, Collection, Resource


@dataclass(frozen=True)
class PatchedView:
    """The view of proxies with some patches; `generated` is that of such proxies without."""

    generated: MeshView
    patches: tuple[PatchName, ...]

    @property
    def audience(self) -> Audience:
        """The class of proxies, whatever their patches."""
        return self.generated.audience

    @property
    def key(self) -> Hashable:
        """Equal for all proxies of the class with these patches, in every snapshot."""
        return self.generated.key, self.patches

    def scope(self, reads: Reads) -> Scope:
        """What the audience sees; questions asked of it are noted in `reads`."""
        return self.generated.scope(reads)

    def collection(self, type_url: str, reads: Reads | None = None) -> Collection:
        """As that of the generated view; `BOOTSTRAP` has what agents merge into theirs."""
        if type_url not in PATCHED:
            return self.generated.collection(type_url, reads)

        def made(own: Reads) -> Collection:
            generated = self.generated.collection(type_url, own)
            return self._patcher.collection(type_url, generated, self.scope(own))

        results, generation = self.generated.results, self.generated.index.generation
        return results.get(("patched", type_url, self.key), generation, reads, made)

    def named(self, type_url: str, name: str, reads: Reads | None = None) -> Resource | None:
        """As that of the generated view; what patches add is found, what they remove is not."""
        if type_url not in PATCHED:
            return self.generated.named(type_url, name, reads)
        results, generation = self.generated.results, self.generated.index.generation
        key = Member(*self._family(type_url), name)
        return results.get(key, generation, reads, lambda own: self._named(type_url, name, own))

    def applied(self) -> frozenset[PatchName]:
        """The patches that changed or added something of what the view has; others fit nothing.

        Routes are those that listeners refer to.
        """
        reads = Reads()
        scope, patcher = self.scope(reads), self._patcher
        found: set[PatchName] = set()
        for type_url in (CDS, LDS, ECDS, BOOTSTRAP):
            taken = set()
            for each in self.generated.collection(type_url, reads):
                outcome = patcher.outcome(each, scope)
                found |= outcome.applied
                taken |= {outcome.resource.name} if outcome.resource else set()
            found |= {patch.name for patch, _ in patcher.additions(type_url, taken, scope)}
        for name in self.collection(LDS, reads).requires:
            if (added := patcher.added_routes(name, scope)) is not None:
                found.add(added[0].name)
            routes = added[1] if added else self.generated.named(RDS, name, reads)
            found |= patcher.outcome(routes, scope).applied if routes else frozenset()
        return frozenset(found)

    @property
    def generation(self) -> int:
        """As that of the generated view."""
        return self.generated.generation

    def family(self, type_url: str) -> Family | None:
        """As that of the generated view."""
        found = self.generated.family(type_url)
        return found if found is None or type_url not in PATCHED else self._family(type_url)

    def renewed(self, type_url: str, since: int) -> frozenset[str] | None:
        """As that of the generated view."""
        if type_url not in PATCHED:
            return self.generated.renewed(type_url, since)
        results = self.generated.results
        if results.generation != self.generation:
            return None
        return results.renewed(self._family(type_url), since)

    def _family(self, type_url: str) -> Family:
        return f"patched {type_url}", self.key

    def _named(self, type_url: str, name: str, reads: Reads) -> Resource | None:
        scope, patcher = self.scope(reads), self._patcher
        if type_url == RDS and (added := patcher.added_routes(name, scope)) is not None:
            return patcher.resource(added[1], scope)
        if type_url != RDS and (known := self.collection(type_url, reads).get(name)) is not None:
            return known
        found = self.generated.named(type_url, name, reads)
        return None if found is None else patcher.resource(found, scope)

    @property
    def _patcher(self) -> Patcher:
        return Patcher(self.patches, self.audience.proxy.type, self._resource, self._ports)

    def _resource(self, type_url: str, message: Any) -> Resource:
        """A message as the resource of its name; there is one bootstrap."""
        name = "bootstrap" if type_url == BOOTSTRAP else message.name
        return self.generated.originals.resource(name, type_url, message, required(message))

    def _ports(self, scope: Scope) -> Translation:
        """Ports of a router that stand behind those of its Services (pilot.md I2)."""
        if self.audience.proxy.type is not ProxyType.ROUTER:
            return ()
        return translation(targets(self.audience.served, scope))
