"""install, upgrade, verify-install, uninstall: a control plane in a cluster, from birth to end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mast.cli.errors import CommandError
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    PODS,
    SECRETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Object,
)
from tests.fakes.kubernetes.callers import User
from tests.fakes.kubernetes.kinds import (
    CLAIMS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CRDS,
    DEPLOYMENTS,
    JOBS,
    SERVICES,
    STATEFUL_SETS,
)
from tests.support.chart import NAMESPACE
from tests.support.documented import table
from tests.support.installing import Site, chart_copy, site

QUICK = ("--profile", "minimal", "-y")
FIRST = ("install", *QUICK)
NEXT = "0.2.0"


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("charts")


@pytest.fixture(scope="module")
def chart(charts: Path) -> Path:
    return chart_copy(charts)


@pytest.fixture(scope="module")
def newer(charts: Path) -> Path:
    return chart_copy(charts, NEXT)


@pytest.fixture
def empty(tmp_path: Path, chart: Path) -> Iterator[Site]:
    with site(tmp_path, chart) as running:
        yield running


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, chart: Path) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("untouched"), chart) as running:
        yield running


@pytest.fixture
def installed(empty: Site) -> Site:
    empty.done(*FIRST)
    return empty


def failure(result: Any, status: int = 1) -> str:
    assert isinstance(result.exception, CommandError), result.output
    assert result.exception.status == status
    return f"{result.exception} | {result.exception.hint}"


def image(site: Site, name: str) -> str:
    found: str = site.get(DEPLOYMENTS, name)["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def citadel_names(site: Site) -> str:
    container = site.get(DEPLOYMENTS, "istio-citadel")["spec"]["template"]["spec"]["containers"][0]
    (found,) = [each for each in container["args"] if each.startswith("--custom-dns-names=")]
    return str(found)


def test_install(empty: Site) -> None:
    """Definitions before their objects, everything marked, written down, ready; tests left out."""
    empty.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
    result = empty.done(*FIRST, "--set", "global.mtls.enabled=true")
    assert "Mast 0.1.0 is installed in istio-system, revision default" in result.stdout
    told = result.stderr.splitlines()
    assert told[0] == "✔ Namespace istio-system created"
    assert told[1] == "✔ Definitions of 2 kinds ready"
    assert told[3:] == [
        *(f"✔ {name} ready" for name in ("bootstrap", "citadel", "etcd", "galley", "pilot")),
        "✔ Installation complete",
    ]
    assert "PeerAuthentication/default" in [
        f"{key[0].kind}/{key[2]}" for key in empty.objects.stored
    ]
    metadata = empty.get(DEPLOYMENTS, "istio-pilot")["metadata"]
    assert metadata["annotations"] == {
        "meta.helm.sh/release-name": "mast",
        "meta.helm.sh/release-namespace": NAMESPACE,
    }
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    managers = {(each["manager"], each["operation"]) for each in metadata["managedFields"]}
    assert ("mastctl", "Apply") in managers
    assert empty.names(PODS) == []
    release = empty.release()
    assert (release.profile, release.version, release.number) == ("minimal", "0.1.0", 1)
    assert release.values == {"global": {"mtls": {"enabled": True}}}
    assert release.complete
    assert empty.get(SECRETS, "mast-release-mast")["type"] == "mast.io/release.v1"


def test_nothing_happens_in_a_dry_run_or_without_consent(empty: Site) -> None:
    before = empty.objects.revision
    dry = empty.done("install", "--profile", "minimal", "--dry-run")
    assert "+ CustomResourceDefinition:destinationrules.networking.istio.io" in dry.stdout
    assert "+ Deployment:istio-system:istio-pilot" in dry.stdout
    assert "Not installed: Pod 'mast-test-control-plane', which is for `helm test`." in dry.stderr
    asked = empty.run("install", "--profile", "minimal", answer="n\n")
    assert asked.exit_code == 1
    assert (
        "This will install the Mast 0.1.0 profile 'minimal' (with components: bootstrap, citadel,"
        " etcd, galley, pilot) as revision 'default' in istio-system. Proceed? [y/N]"
    ) in asked.stderr
    assert empty.objects.revision == before
    assert empty.run("install", "--profile", "minimal", answer="y\n").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (["--profile", "nope"], 1, "profile 'nope': there is none; want one of default, demo"),
        (["--set", "pilot.nope=1"], 1, "values: at '/pilot': additional properties 'nope' not"),
        (["--set", "pilot"], 2, '--set pilot: key "pilot" has no value'),
        (["--set", "=1"], 2, "--set =1: want PATH=VALUE"),
        (["--set", "a[x]=1"], 2, "--set a[x]=1: "),
        (["--set", "components.nope.enabled=true"], 1, "--set components.nope: there is no such"),
        (
            ["--set", "serviceMonitor.enabled=true"],
            1,
            "the cluster has no monitoring.coreos.com",
        ),
        (["--set", "global.istioNamespace=x"], 1, "global.istioNamespace: 'x', and the release is"),
        (["--readiness-timeout", "soon"], 2, "--readiness-timeout: "),
    ],
)
def test_what_cannot_be_installed(
    untouched: Site, arguments: list[str], status: int, problem: str
) -> None:
    before = untouched.objects.revision
    assert problem in failure(untouched.run(*FIRST, *arguments), status)
    assert untouched.objects.revision == before


def test_an_old_cluster_and_a_missing_engine(empty: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    empty.live.cluster.version = "v1.26.1"
    assert "Kubernetes v1.26.1 is too old for the chart" in failure(empty.run(*FIRST))
    monkeypatch.setitem(sys.modules, "helm_python", None)
    problem = failure(empty.run(*FIRST))
    assert problem == (
        "Helm's engine is not installed: the chart cannot be rendered | install it with: pip"
        " install 'mast-cli[install]'"
    )


def test_an_upgrade_keeps_values_shows_what_changes_and_removes_the_rest(
    installed: Site, newer: Path
) -> None:
    installed.done("upgrade", "-y", "--set", "pilot.traceSampling=7")
    objects = installed.objects
    made = {"app.kubernetes.io/instance": "mast", "app.kubernetes.io/managed-by": "Helm"}
    objects.create(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": "by-somebody", "labels": made}})
    claim = {"metadata": {"name": "data-mast-etcd-0", "labels": made}}
    objects.create(CLAIMS, NAMESPACE, claim)
    installed.change(
        VALIDATING_WEBHOOK_CONFIGURATIONS,
        "istiod-default-validator",
        {"webhooks": [{"name": "validation.istio.io", "failurePolicy": "Fail"}]},
    )
    jobs = installed.names(JOBS)
    result = installed.done("upgrade", "-y", "--set", "tests.enabled=false", chart=newer)
    lines = result.stdout.splitlines()
    at = lines.index("~ Deployment:istio-system:istio-pilot")
    labels = "metadata.labels[app.kubernetes.io/version]: 0.1.0, want 0.2.0"
    assert lines[at + 1] == f"    {labels}"
    assert f"- Job:istio-system:{jobs[0]}" in lines
    assert not any("istiod-default-validator" in line and "Policy" in line for line in lines)
    assert image(installed, "istio-pilot").endswith(f":{NEXT}")
    assert len(installed.names(JOBS)) == 1
    assert installed.names(JOBS) != jobs
    assert "by-somebody" in installed.names(CONFIG_MAPS)
    assert "data-mast-etcd-0" in installed.names(CLAIMS)
    (webhook,) = installed.get(VALIDATING_WEBHOOK_CONFIGURATIONS, "istiod-default-validator")[
        "webhooks"
    ]
    assert webhook["failurePolicy"] == "Fail"
    release = installed.release()
    wanted = {"pilot": {"traceSampling": 7}, "tests": {"enabled": False}}
    assert (release.version, release.profile, release.values) == (NEXT, "minimal", wanted)
    assert release.number == 3
    installed.done("upgrade", "-y", "--reset-values", "--profile", "minimal", chart=newer)
    assert installed.release().values == {}


def test_the_tag_default_keeps_what_it_took_over(installed: Site) -> None:
    """An upgrade would else give pods of the default revision two injectors (IST0139)."""
    installed.done("install", "-y", "--revision", "canary")
    installed.done("tag", "set", "default", "--revision", "canary")
    before = installed.get(MUTATING_WEBHOOK_CONFIGURATIONS, "istio-sidecar-injector")["webhooks"]
    installed.done("upgrade", "-y")
    after = installed.get(MUTATING_WEBHOOK_CONFIGURATIONS, "istio-sidecar-injector")["webhooks"]
    assert after == before
    installed.done("verify-install")


def test_versions_are_neither_skipped_nor_taken_back(
    installed: Site, charts: Path, newer: Path
) -> None:
    assert "| go on with: mastctl upgrade" in failure(installed.run(*FIRST, chart=newer))
    skipping = chart_copy(charts, "0.4.0")
    problem = failure(installed.run("upgrade", "-y", chart=skipping))
    assert problem.startswith("0.4.0 skips versions: 0.1.0 is installed")
    installed.done("upgrade", "-y", chart=newer)
    assert "0.1.0 is older than 0.2.0" in failure(installed.run("upgrade", "-y"))
    installed.done("upgrade", "-y", "--force")
    assert image(installed, "istio-pilot").endswith(":0.1.0")


def test_an_upgrade_is_prechecked(installed: Site) -> None:
    installed.live.cluster.version = "v1.21.0"
    result = installed.run("upgrade", "-y")
    assert failure(result) == "this is in the way of an upgrade | insist with --force"
    assert "Error [IST0142] Kubernetes v1.21.0 is not supported" in result.stderr


def test_a_stored_version_may_not_vanish(installed: Site) -> None:
    name = "peerauthentications.security.istio.io"
    status = {"storedVersions": ["v1alpha1", "v1"]}
    installed.objects.update(CRDS, "", name, {"status": status}, "status")
    problem = failure(installed.run("upgrade", "-y", "--force"))
    assert f"CustomResourceDefinition {name}: status.storedVersions has v1alpha1" in problem


def test_definitions_are_upgraded(installed: Site) -> None:
    name = "peerauthentications.security.istio.io"
    whole = installed.get(CRDS, name)["spec"]["versions"]
    bare = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    old = [{**each, "schema": {"openAPIV3Schema": bare}} for each in whole]
    installed.change(CRDS, name, {"spec": {"versions": old}})
    result = installed.done("upgrade", "-y")
    assert f"~ CustomResourceDefinition:{name}" in result.stdout
    assert installed.get(CRDS, name)["spec"]["versions"] == whole


def test_verification_tells_what_is_missing_different_and_not_ready(installed: Site) -> None:
    good = installed.done("verify-install")
    assert "✔ Deployment:istio-system:istio-pilot checked successfully" in good.stdout
    assert good.stdout.splitlines()[-3:] == [
        "Checked 2 definitions of kinds of revision default",
        f"Checked {len(installed.release().objects)} objects of revision default",
        "✔ Mast is installed and verified successfully",
    ]
    installed.objects.delete(SERVICES, NAMESPACE, "istiod")
    installed.objects.delete(CRDS, "", "destinationrules.networking.istio.io")
    containers = [{"name": "discovery", "image": "mine"}]
    change = {"spec": {"template": {"spec": {"containers": containers}}}}
    installed.change(DEPLOYMENTS, "istio-pilot", change)
    installed.stuck.add("istio-citadel")
    installed.objects.wake()
    result = installed.run("verify-install")
    assert failure(result).startswith("4 objects are not as they were installed")
    wrong = [line for line in result.stdout.splitlines() if line.startswith("✘")]
    assert wrong[0] == (
        "✘ CustomResourceDefinition:destinationrules.networking.istio.io: it is missing"
    )
    assert wrong[1] == "✘ Service:istio-system:istiod: it is missing"
    assert wrong[2] == (
        "✘ Deployment:istio-system:istio-citadel: 0 of 1 updated replicas available: pod"
        " istio-citadel-0: container citadel: ImagePullBackOff: there is no such image"
    )
    place = "spec.template.spec.containers[discovery].image"
    assert wrong[3].startswith(f"✘ Deployment:istio-system:istio-pilot: {place}: mine, want ")


def test_what_does_not_get_ready_is_told_and_can_be_gone_on_with(empty: Site) -> None:
    empty.stuck.update({"istio-galley"})
    problem = failure(empty.run(*FIRST, "--readiness-timeout", "1s"))
    assert problem == (
        "not ready after 1 s: Deployment:istio-system:istio-galley: 0 of 1 updated replicas"
        " available: pod istio-galley-0: container galley: ImagePullBackOff: there is no such image"
        " | see what is wrong with: mastctl verify-install"
    )
    assert not empty.release().complete
    result = empty.run("verify-install")
    assert failure(result)
    assert "✘ Secret:istio-system:mast-release-mast: the installation was not completed" in (
        result.stdout
    )
    empty.stuck.clear()
    empty.objects.delete(PODS, NAMESPACE, "istio-galley-0")
    empty.done(*FIRST)
    empty.done("verify-install")


def test_a_job_that_failed_is_not_waited_for(empty: Site) -> None:
    (job,) = [
        line.removeprefix("+ Job:istio-system:")
        for line in empty.done(*FIRST, "--dry-run").stdout.splitlines()
        if line.startswith("+ Job:")
    ]
    empty.stuck.add(job)
    problem = failure(empty.run(*FIRST))
    assert problem.startswith(f"Job:istio-system:{job}: it failed: BackoffLimitExceeded")


def test_a_second_revision_by_one_command(installed: Site, newer: Path) -> None:
    """etcd, Citadel and so on are shared; Citadel gets to know it, and forgets it again."""
    installed.done("upgrade", "-y", "--set", "global.trustDomain=example.org,global.tag=9")
    services = set(installed.names(SERVICES))
    before = image(installed, "istio-citadel")
    installed.done("install", "-y", "--revision", "canary", chart=newer)
    assert set(installed.names(SERVICES)) - services == {
        "istiod-canary", "istio-pilot-canary", "istio-galley-canary",
    }  # fmt: skip
    assert set(installed.names(STATEFUL_SETS)) == {"mast-etcd"}
    assert "istiod-canary.istio-system.svc" in citadel_names(installed)
    assert image(installed, "istio-citadel") == before
    arguments = installed.get(DEPLOYMENTS, "istio-pilot-canary")["spec"]["template"]["spec"][
        "containers"
    ][0]["args"]
    endpoints = "--etcd-endpoints=mast-etcd-0.mast-etcd.istio-system.svc.cluster.local:2379"
    assert {endpoints, "--trust-domain=example.org"} <= set(arguments)
    assert image(installed, "istio-pilot-canary").endswith(f":{NEXT}")
    assert installed.release().values["security"]["revisions"] == ["canary"]
    installed.done("verify-install")
    installed.done("tag", "set", "prod", "--revision", "canary")
    assert "tags stand for what is removed: prod" in failure(
        installed.run("uninstall", "--revision", "canary", "-y")
    )
    problem = failure(installed.run("uninstall", "--revision", "default", "-y"))
    assert "revision 'default' has the etcd and the CA of: canary" in problem
    installed.done("upgrade", "-y")
    assert "istiod-canary" in citadel_names(installed)
    installed.done("tag", "remove", "prod", "-y")
    installed.done("uninstall", "--revision", "canary", "-y", chart=newer)
    assert set(installed.names(SERVICES)) == services
    assert "canary" not in citadel_names(installed)
    installed.done("verify-install")


def test_a_second_revision_beside_one_of_helm(installed: Site) -> None:
    installed.objects.delete(SECRETS, NAMESPACE, "mast-release-mast")
    problem = failure(installed.run("install", "-y", "--revision", "canary"))
    assert problem.endswith(
        "helm upgrade mast CHART -n istio-system --reuse-values --set 'security.revisions={canary}'"
    )
    installed.done("install", *QUICK, "--set", "security.revisions={canary}")
    installed.objects.delete(SECRETS, NAMESPACE, "mast-release-mast")
    installed.done("install", "-y", "--revision", "canary")


def test_what_is_helms_is_left_to_it(installed: Site) -> None:
    labels = {"owner": "helm", "name": "mast"}
    body = {"metadata": {"name": "sh.helm.release.v1.mast.v1", "labels": labels}}
    installed.objects.create(SECRETS, NAMESPACE, body)
    installed.objects.delete(SECRETS, NAMESPACE, "mast-release-mast")
    assert failure(installed.run(*FIRST)).startswith("release 'mast' in istio-system is Helm's")
    installed.done(*FIRST, "--force")
    annotations = {"meta.helm.sh/release-name": "another"}
    installed.change(SERVICES, "istiod", {"metadata": {"annotations": annotations}})
    problem = failure(installed.run(*FIRST))
    assert problem.startswith("Service:istio-system:istiod belongs to release 'another'")


def test_uninstall_keeps_what_lasts_unless_everything_goes(installed: Site) -> None:
    objects = installed.objects
    own = {"app.kubernetes.io/managed-by": "mastctl"}
    objects.create(SECRETS, NAMESPACE, {"metadata": {"name": "mast-ca-key", "labels": own}})
    claim = {"name": "data-mast-etcd-0", "labels": {"app.kubernetes.io/instance": "mast"}}
    objects.create(CLAIMS, NAMESPACE, {"metadata": claim})
    objects.create(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": "istio-ca-root-cert"}})
    objects.create(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": "mine"}})
    labelled = {"metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}}
    objects.create(NAMESPACES, "", labelled)
    before = objects.revision
    dry = installed.done("uninstall", "--revision", "default", "--dry-run")
    assert "Namespaces that belong to it: shop." in dry.stderr
    asked = installed.run("uninstall", "--revision", "default", answer="n\n")
    assert asked.exit_code == 1
    assert objects.revision == before
    result = installed.done("uninstall", "--revision", "default", "-y")
    removed = [line for line in result.stderr.splitlines() if "Removed" in line]
    assert removed[0].startswith("  Removed ValidatingWebhookConfiguration:")
    assert removed[-1].startswith("  Removed NetworkPolicy:")
    assert installed.names(DEPLOYMENTS) == installed.names(MUTATING_WEBHOOK_CONFIGURATIONS) == []
    assert installed.names(SECRETS) == ["mast-ca-key"]
    assert installed.names(CLAIMS) == ["data-mast-etcd-0", "mast-etcd-snapshots"]
    assert len(installed.names(CRDS)) == 2
    assert "revision 'default' is not installed; installed are: none" in failure(
        installed.run("uninstall", "--revision", "default", "-y")
    )
    installed.done(*FIRST)
    installed.done("uninstall", "--purge", "-y")
    assert installed.names(SECRETS) == installed.names(CLAIMS) == installed.names(CRDS) == []
    assert installed.names(CONFIG_MAPS) == ["mine"]


def test_usage(untouched: Site) -> None:
    for arguments in ([], ["--purge", "--revision", "x"]):
        problem = failure(untouched.run("uninstall", *arguments), 2)
        assert problem.startswith("want either --revision or --purge")
    assert "there is no release 'mast' of mastctl" in failure(untouched.run("upgrade", "-y"))
    assert "did not install anything in istio-system" in failure(untouched.run("verify-install"))


def test_the_rights_of_the_document_suffice(empty: Site) -> None:
    rules: list[Object] = [
        {
            "apiGroups": [group.replace("core", "") for group in groups.split(", ")],
            "resources": resources.split(", "),
            "verbs": verbs.split(", "),
        }
        for groups, resources, verbs in table("install.md", "| group | resources | verbs |")
    ]
    empty.objects.create(CLUSTER_ROLES, "", {"metadata": {"name": "installer"}, "rules": rules})
    role = {"kind": "ClusterRole", "name": "installer"}
    subjects = [{"kind": "User", "name": "ann"}]
    binding = {"metadata": {"name": "ann"}, "roleRef": role, "subjects": subjects}
    empty.objects.create(CLUSTER_ROLE_BINDINGS, "", binding)
    cluster = empty.live.cluster
    cluster.callers.static["ann-token"] = User("ann", ())
    cluster.callers.by_roles = True
    empty.live.kubeconfig.write_text(cluster.kubeconfig("ann-token"))
    more = "pilot.autoscaleEnabled=true,pilot.autoscaleMin=2,global.mtls.enabled=true"
    empty.done(*FIRST, "--set", more, "--no-wait")
    empty.done("upgrade", "-y", "--reset-values", "--profile", "minimal")
    empty.done("install", "-y", "--revision", "canary")
    empty.done("verify-install")
    empty.done("uninstall", "--revision", "canary", "-y")
    empty.done("uninstall", "--purge", "-y")
    assert json.dumps(empty.names(DEPLOYMENTS)) == "[]"
