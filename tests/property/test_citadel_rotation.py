"""Whatever happens in whatever order, rotations keep their promises (citadel-and-agent.md A8.5).

A model of a mesh: replicas of the CA that act on one store, some of them cut off from it for a
while, and agents that come and go, hear late, confirm and renew when they like. Certificates are
real, leaves are only remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mast.citadel.core import rotation
from mast.citadel.core.authority import Authority, Slot, State, pem, self_signed
from mast.citadel.core.bundle import is_published, next_bundle
from mast.citadel.core.knowledge import knowledge
from mast.citadel.core.rotation import NotPossible, Policy, Step
from mast.common.identity.ca_client import new_private_key
from mastapi.status.v1.status_pb2 import TrustStatus
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.unit.citadel.examples import DOMAIN, HOUR, NOW

LIFE, LEAF, GRACE = 240 * HOUR, 24 * HOUR, 24 * HOUR
POLICY = Policy(enough=0.99, grace=GRACE, settling=HOUR)
KEYS = [new_private_key("P256") for _ in range(40)]
REPLICAS, AGENTS = 3, 4


@dataclass
class Replica:
    """What a replica of the CA knows; `seen` is when it last heard from the store."""

    authority: Authority
    seen: datetime
    connected: bool = True


@dataclass
class Agent:
    """What an agent trusts, confirmed, and holds: the root of its leaf and when that ends."""

    trusts: frozenset[str] = frozenset()
    confirmed: int = 0
    root: str = ""
    ends: datetime = NOW
    connected: bool = True
    told: list[TrustBundle] = field(default_factory=list)


class Rotation(RuleBasedStateMachine):
    """Steps are the rotator's and an operator's; nobody forces anything."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.since = NOW - 2 * HOUR
        self.serials: Iterator[int] = count(1)
        self.stored = Authority(DOMAIN, (self.slot(),))
        self.bundle = next_bundle(self.stored, None) or TrustBundle()
        self.replicas = [Replica(self.stored, NOW) for _ in range(REPLICAS)]
        self.agents = [Agent() for _ in range(AGENTS)]
        for agent in self.agents:
            self.take(agent, self.bundle)
            self.renew(agent, self.replicas[0])

    def slot(self) -> Slot:
        number = next(self.serials)
        key = KEYS[number % len(KEYS)]
        return self_signed(DOMAIN, key, now=self.now, ttl=LIFE, serial=number, longest_leaf=LEAF)

    # What happens to agents

    def take(self, agent: Agent, bundle: TrustBundle) -> None:
        """Trust a bundle, replace a tainted leaf, confirm: in this order, as agents do."""
        agent.trusts = frozenset(root.pem for root in bundle.roots)
        tainted = {root.pem for root in bundle.roots if root.state == Root.TAINTED}
        if agent.root in tainted:
            self.renew(agent, next(each for each in self.replicas if each.connected))
        agent.confirmed = bundle.sequence

    def renew(self, agent: Agent, replica: Replica) -> None:
        """A leaf from a replica, with the roots that this replica knows; if it signs at all."""
        if not replica.connected and self.now >= replica.seen + GRACE:
            return
        active = replica.authority.active
        if self.now >= active.not_after:
            return
        agent.root = pem(active.certificate)
        agent.ends = min(self.now + active.longest_leaf, active.not_after)
        agent.trusts |= {pem(root) for root in replica.authority.roots}

    @rule(who=st.integers(0, AGENTS - 1))
    def hears(self, who: int) -> None:
        agent = self.agents[who]
        if agent.connected and agent.told:
            self.take(agent, agent.told.pop(0))

    @rule(who=st.integers(0, AGENTS - 1), replica=st.integers(0, REPLICAS - 1))
    def renews(self, who: int, replica: int) -> None:
        self.renew(self.agents[who], self.replicas[replica])

    @rule(who=st.integers(0, AGENTS - 1))
    def goes(self, who: int) -> None:
        self.agents[who].connected = False

    @rule(who=st.integers(0, AGENTS - 1))
    def comes_back(self, who: int) -> None:
        """It is told what is published the moment it connects."""
        agent = self.agents[who]
        if not agent.connected:
            agent.connected, agent.told = True, []
            self.take(agent, self.bundle)

    # What happens to the CA

    @rule(hours=st.sampled_from([1, 6, 20, 30, 60]))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        for replica in self.replicas:
            if replica.connected:
                replica.seen = self.now
        for agent in self.agents:
            if self.now >= agent.ends - LEAF / 2:  # half life; somebody answers
                self.renew(agent, next(each for each in self.replicas if each.connected))

    @rule(which=st.integers(1, REPLICAS - 1))
    def is_cut_off(self, which: int) -> None:
        self.replicas[which].connected = False

    @rule(which=st.integers(1, REPLICAS - 1))
    def is_back(self, which: int) -> None:
        self.replicas[which] = Replica(self.stored, self.now)

    @rule()
    def is_published(self) -> None:
        made = next_bundle(self.stored, self.bundle)
        if made is not None:
            self.bundle = made
            for agent in self.agents:
                agent.told.append(made)

    @rule()
    def rotates(self) -> None:
        """The step that is due, if one is."""
        known = self.known()
        published = is_published(self.stored, self.bundle)
        step = rotation.due(self.stored, known, published=published, now=self.now, policy=POLICY)
        if step is Step.PREPARE:
            self.change(rotation.prepared(self.stored, self.slot()))
        elif step is Step.ACTIVATE:
            forced = self.now >= self.stored.active.not_after
            self.change(rotation.activated(self.stored, "", now=self.now, grace=GRACE), forced)
        elif step is Step.PRUNE:
            self.change(rotation.replaced(self.stored, known, now=self.now, policy=POLICY))

    @rule()
    def operator_rotates(self) -> None:
        """`prepare`, or `activate` as far as it is not refused."""
        if self.stored.prepared is None:
            self.change(rotation.prepared(self.stored, self.slot()))
            return
        seen = rotation.Overview(self.stored, self.bundle, self.known())
        if not rotation.activation_obstacle(seen, now=self.now, policy=POLICY):
            self.change(rotation.activated(self.stored, "", now=self.now, grace=GRACE))

    @precondition(lambda self: any(s.state is State.OLD for s in self.stored.slots))
    @rule()
    def operator_taints(self) -> None:
        try:
            self.change(rotation.tainted(self.stored))
        except NotPossible:  # several are old
            return

    def known(self) -> rotation.Knowledge:
        status = TrustStatus(reporter="pilot-a", trust_domain=DOMAIN)
        status.since.FromDatetime(self.since)
        for agent in self.agents:
            if agent.connected:
                status.holders.add(sequence=agent.confirmed, count=1)
        return knowledge([status], DOMAIN, self.bundle.sequence)

    def change(self, new: Authority, forced: bool = False) -> None:
        """Store it: connected replicas know at once. The promises hold at every change."""
        old, self.stored = self.stored, new
        for replica in self.replicas:
            if replica.connected:
                replica.authority, replica.seen = new, self.now
        if new.active is not old.active and not forced:
            signing = pem(new.active.certificate)
            for agent in self.agents:
                assert signing in agent.trusts or not agent.connected, "not everybody knows it"
        kept = {pem(root) for root in new.roots}
        for slot in old.slots:
            if pem(slot.certificate) in kept or slot.state is State.PREPARED:
                continue
            for agent in self.agents:
                living = agent.root == pem(slot.certificate) and agent.ends > self.now
                assert not living or not agent.connected or not slot.tainted, "tainted, in use"
                assert not living or slot.tainted, "an old root was dropped with a living leaf"

    @invariant()
    def one_ca_signs_and_one_at_most_is_prepared(self) -> None:
        states = [slot.state for slot in self.stored.slots]
        assert states.count(State.ACTIVE) == 1
        assert states.count(State.PREPARED) <= 1

    @invariant()
    def records_survive(self) -> None:
        """Slots are told apart by their names, whatever their state."""
        names = [slot.id for slot in self.stored.slots]
        assert len(set(names)) == len(names)
        assert replace(self.stored) == self.stored


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
