"""Policies mean to Envoy what their language says: generated policies, callers and requests.

Three opinions on every call: the reference evaluator's, which knows nothing but the language; a
real Envoy's, which has what Pilot made of the policies; and that of `mastctl explain`, which reads
what Envoy has. MAST_CASES says how many calls (`tox -e fuzz` takes more), MAST_SEED which ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.cli.envoy.configuration import connection_manager
from mast.cli.explain.access import Author, guarded
from mast.cli.explain.causes import Causes
from mast.cli.explain.chains import filter_chain
from mast.cli.explain.story import Story
from mast.common.kinds import BY_GROUP_KIND
from mast.pilot.core.model.index import Index
from tests.support.accepted import Candidate, complaints
from tests.support.authorization_cases import ALIAS, IDENTITIES, NAMESPACE, Case, cases
from tests.support.authorization_envoy import Decision, arrival, inbound, observed, running
from tests.support.authorization_reference import Call, Document, Verdict, verdict
from tests.support.mesh_yaml import world

SETS, REQUESTS, STREAMS = 60, 28, 8
SERIES = SETS * (REQUESTS + STREAMS)
"""Calls that one Envoy is asked."""

CASES = int(os.environ.get("MAST_CASES", SERIES))
SEED = int(os.environ.get("MAST_SEED", "0"))

EVERYBODY = [*IDENTITIES, *(each.replace("cluster.local", ALIAS, 1) for each in IDENTITIES)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(SEED, SEED + -(-CASES // SERIES)), ids="seed-{}".format)
async def test_policies_mean_what_they_say(tmp_path: Path, seed: int) -> None:
    drawn = cases(seed, SETS, http=REQUESTS, tcp=STREAMS)
    sent = [inbound(case) for case in drawn]
    names = [f"set-{number}" for number in range(SETS)]
    shown = {name: observed(each, name) for name, each in zip(names, sent, strict=True)}
    index = world().snapshot(1).index
    async with running(tmp_path, shown, EVERYBODY) as (_, clients):
        for name, listener, case in zip(names, sent, drawn, strict=True):
            for call in case.calls:
                said = verdict(case.policies, case.place, call)
                done = await clients.decision(name, call)
                told = explained(listener, call, index)
                wrong = [*disagreements(call, said, done), *doubts(call, done, told)]
                assert not wrong, report(seed, case, call, [said, done, told, *wrong])


def disagreements(call: Call, said: Verdict, done: Decision) -> Iterator[str]:
    """What Envoy did otherwise than the language says."""
    if done.allowed != said.allowed:
        yield "allowed"
    if not call.http:
        return  # Of connections that it closes Envoy tells no more.
    if not done.allowed and done.rule not in (said.rules or {"none"}):
        yield "rule"
    if (done.left.get("audited") == "true") != said.audited:
        yield "audited"
    for action, passes in said.dry.items():
        # A filter that refuses has not yet told what its dry run says, nor has any after it.
        told = done.allowed or (action == "deny" and not said.rules)
        if told and done.left.get(action) != ("allowed" if passes else "denied"):
            yield f"dry run of {action}"


def doubts(call: Call, done: Decision, told: Story) -> Iterator[str]:
    """What is explained otherwise than it is."""
    if (not told.status) != done.allowed:
        yield "explained"
    denying = [each for each in told.access if each.action == "DENY" and not each.lacking]
    decided = denying[0].rule if denying else "none"
    if call.http and not done.allowed and decided != done.rule:
        yield "explained rule"


def explained(listener: Listener, call: Call, index: Index) -> Story:
    """What the command line tells of a call."""
    story, arrived = Story(), arrival(call)
    chain = filter_chain(listener, arrived.connection)
    assert chain is not None
    manager = connection_manager(chain)
    filters = manager.http_filters if manager else chain.filters
    guarded(filters, arrived, Author(Causes(index), NAMESPACE), story)
    return story


def test_galley_accepts_what_is_generated() -> None:
    policies = [each for case in cases(SEED, SETS, http=0, tcp=0) for each in case.policies]
    assert [found for each in policies for found in complaints(candidate(each))] == []


def test_every_word_of_the_language_is_generated() -> None:
    policies = [each for case in cases(0, SETS, http=0, tcp=0) for each in case.policies]
    assert words(policies) >= {
        *("principals", "namespaces", "serviceAccounts", "trustDomains", "ipBlocks"),
        *("remoteIpBlocks", "requestPrincipals", "methods", "paths", "hosts", "ports"),
        *("notPrincipals", "notNamespaces", "notServiceAccounts", "notTrustDomains"),
        *("notIpBlocks", "notRemoteIpBlocks", "notRequestPrincipals", "notMethods", "notPaths"),
        *("notHosts", "notPorts", "values", "notValues", "selector", "targetRefs"),
        *("ALLOW", "DENY", "AUDIT", "istio.io/dry-run", "source.ip", "remote.ip"),
        *("source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain"),
        *("request.auth.principal", "request.auth.audiences", "request.auth.presenter"),
        *("request.auth.claims[groups]", "request.auth.claims[nested][team]"),
        *("request.headers[x-role]", "destination.ip", "destination.port", "connection.sni"),
        "experimental.envoy.filters.test.set[colour]",
    }


def words(value: Any) -> set[str]:
    """All names and texts of documents."""
    if isinstance(value, Mapping):
        return {word for each in (*value.keys(), *value.values()) for word in words(each)}
    if isinstance(value, str):
        return {value}
    return {word for each in value for word in words(each)}


def candidate(policy: Document) -> Candidate:
    """A policy as Galley is given it."""
    group, _, _ = policy["apiVersion"].rpartition("/")
    kind = BY_GROUP_KIND[group, policy["kind"]]
    metadata = policy["metadata"]
    annotations = metadata.get("annotations", {})
    return Candidate(
        kind, metadata["namespace"], metadata["name"], policy["spec"], annotations=annotations
    )


def report(seed: int, case: Case, call: Call, opinions: Sequence[object]) -> str:
    """Everything about a call that opinions differ on."""
    shown = yaml.safe_dump_all(case.policies)
    return "\n".join([f"MAST_SEED={seed}", shown, str(case.place), str(call), *map(str, opinions)])
