"""DestinationRule and traffic policies: accepted, rejected and warned of (B2)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

POLICY = "{host: a.com, trafficPolicy: %s}"
OUTLIER = "outlierDetection: {consecutive5xxErrors: 1}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{host: a}", [], id="short-host"),
        pytest.param("{host: '*.a.com'}", [], id="wildcard"),
        pytest.param("{host: '*'}", ["error spec.host host"], id="any-host"),
        pytest.param("{}", ["error spec.host required"], id="no-host"),
        pytest.param("{host: a, subsets: [{name: v1}, {name: v1}]}",
                     ["error spec.subsets[1].name duplicate"], id="subset-twice"),
        pytest.param("{host: a, subsets: [{name: V_1}]}", ["error spec.subsets[0].name name"],
                     id="subset-name"),
        pytest.param("{host: a, subsets: [{labels: {a: b}}]}",
                     ["error spec.subsets[0].name required"], id="subset-without-name"),
        pytest.param("{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ['.']}", [],
                     id="selector-here"),
        pytest.param("{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ['*']}",
                     ["error spec.exportTo export-to"], id="selector-everywhere"),
        pytest.param("{host: a, workloadSelector: {matchLabels: {a: '*'}}}",
                     ["error spec.workloadSelector.matchLabels.a selector"],
                     id="selector-with-wildcard"),
        pytest.param("{host: a, workloadSelector: {matchLabels: {'': b}}}",
                     ["error spec.workloadSelector.matchLabels[\"\"] selector"],
                     id="selector-without-key"),
        pytest.param("{host: a, workloadSelector: {}}",
                     ["warning spec.workloadSelector.matchLabels empty-selector"],
                     id="empty-selector"),
    ],
)  # fmt: skip
def test_object(spec: str, expected: list[str]) -> None:
    assert found("DestinationRule", spec) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("{}", ["error spec.trafficPolicy empty"], id="empty"),
        pytest.param("{portLevelSettings: [{port: {number: 80}}]}",
                     ["error spec.trafficPolicy.portLevelSettings[0] empty"], id="empty-port"),
        pytest.param("{portLevelSettings: [{tls: {mode: DISABLE}}]}",
                     ["error spec.trafficPolicy.portLevelSettings[0] empty",
                      "error spec.trafficPolicy.portLevelSettings[0].port required"],
                     id="port-without-number"),
        pytest.param("{tunnel: {protocol: connect, targetHost: a.com, targetPort: 80}}", [],
                     id="tunnel"),
        pytest.param("{tunnel: {protocol: GET, targetHost: 'a b', targetPort: 70000}}",
                     ["error spec.trafficPolicy.tunnel.protocol tunnel",
                      "error spec.trafficPolicy.tunnel.targetHost host",
                      "error spec.trafficPolicy.tunnel.targetPort port"], id="bad-tunnel"),
        pytest.param("{tunnel: {}, proxyProtocol: {}}",
                     ["error spec.trafficPolicy.proxyProtocol one-of",
                      "error spec.trafficPolicy.tunnel.targetHost required",
                      "error spec.trafficPolicy.tunnel.targetPort required"],
                     id="tunnel-and-proxy-protocol"),
        pytest.param("{connectionPool: {}}",
                     ["error spec.trafficPolicy.connectionPool required"], id="empty-pool"),
        pytest.param("{connectionPool: {tcp: {maxConnections: -1}}}",
                     ["error spec.trafficPolicy.connectionPool.tcp.maxConnections number"],
                     id="negative-connections"),
        pytest.param("{connectionPool: {tcp: {idleTimeout: 0s}}}", [], id="tcp-idle-off"),
        pytest.param("{connectionPool: {http: {idleTimeout: 0s}}}",
                     ["error spec.trafficPolicy.connectionPool.http.idleTimeout duration"],
                     id="http-idle-off"),
        pytest.param("{connectionPool: {http: {useClientProtocol: true,"
                     " h2UpgradePolicy: UPGRADE}}}",
                     ["error spec.trafficPolicy.connectionPool.http.h2UpgradePolicy not-allowed"],
                     id="upgrade-and-client-protocol"),
        pytest.param("{connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}",
                     ["error spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout"
                      " required"], id="keepalive"),
        pytest.param("{outlierDetection: {maxEjectionPercent: 101, minHealthPercent: -1}}",
                     ["error spec.trafficPolicy.outlierDetection.maxEjectionPercent percentage",
                      "error spec.trafficPolicy.outlierDetection.minHealthPercent percentage"],
                     id="outlier-percents"),
        pytest.param("{outlierDetection: {consecutiveErrors: 5}}",
                     ["warning spec.trafficPolicy.outlierDetection.consecutiveErrors deprecated"],
                     id="consecutive-errors"),
        pytest.param("{outlierDetection: {consecutiveLocalOriginFailures: 5}}",
                     ["error spec.trafficPolicy.outlierDetection"
                      ".consecutiveLocalOriginFailures outlier"], id="local-origin"),
        pytest.param("{outlierDetection: {consecutiveLocalOriginFailures: 5,"
                     " splitExternalLocalOriginErrors: true}}", [], id="local-origin-split"),
        pytest.param("{retryBudget: {percent: 120}}",
                     ["error spec.trafficPolicy.retryBudget.percent percentage"],
                     id="retry-budget"),
    ],
)  # fmt: skip
def test_policy(policy: str, expected: list[str]) -> None:
    assert sorted(found("DestinationRule", POLICY % policy)) == sorted(expected)


BALANCER = "spec.trafficPolicy.loadBalancer"


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        pytest.param("{simple: ROUND_ROBIN}", [], id="simple"),
        pytest.param("{simple: LEAST_CONN}", [], id="least-connections-of-1.4"),
        pytest.param("{consistentHash: {}}", [f"error {BALANCER}.consistentHash required"],
                     id="no-hash-key"),
        pytest.param("{consistentHash: {httpCookie: {ttl: 0s}}}",
                     [f"error {BALANCER}.consistentHash.httpCookie.name required"],
                     id="cookie-without-name"),
        pytest.param("{consistentHash: {httpQueryParameterName: ''}}",
                     [f"error {BALANCER}.consistentHash.httpQueryParameterName query-parameter"],
                     id="nameless-query-parameter"),
        pytest.param("{consistentHash: {httpCookie: {name: a,"
                     ' attributes: [{name: b, value: "x\\ny"}]}}}',
                     [f"error {BALANCER}.consistentHash.httpCookie.attributes[0].value cookie"],
                     id="cookie-attribute-with-line-break"),
        pytest.param("{consistentHash: {httpCookie: {name: a,"
                     " attributes: [{name: b}, {name: B}]}}}",
                     [f"error {BALANCER}.consistentHash.httpCookie.attributes[1] duplicate"],
                     id="cookie-attribute-twice"),
        pytest.param("{consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}", [],
                     id="maglev"),
        pytest.param("{consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}",
                     [f"error {BALANCER}.consistentHash.maglev.tableSize maglev"],
                     id="maglev-not-prime"),
        pytest.param("{consistentHash: {useSourceIp: true, maglev: {tableSize: 1}}}",
                     [f"error {BALANCER}.consistentHash.maglev.tableSize maglev"],
                     id="maglev-of-one"),
        pytest.param("{consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}",
                     [f"error {BALANCER}.consistentHash.maglev.tableSize maglev"],
                     id="maglev-too-big"),
        pytest.param("{consistentHash: {useSourceIp: true, minimumRingSize: 1}}",
                     [f"warning {BALANCER}.consistentHash.minimumRingSize deprecated"],
                     id="ring-size"),
        pytest.param("{consistentHash: {useSourceIp: true, minimumRingSize: 1, maglev: {}}}",
                     [f"error {BALANCER}.consistentHash.minimumRingSize one-of"],
                     id="ring-size-beside-algorithm"),
        pytest.param("{simple: RANDOM, warmup: {}}",
                     [f"error {BALANCER}.warmup.duration required"], id="warmup-duration"),
        pytest.param("{simple: RANDOM, warmup: {duration: 1s, minimumPercent: 101,"
                     " aggression: 0}}",
                     [f"error {BALANCER}.warmup.minimumPercent percentage",
                      f"error {BALANCER}.warmup.aggression warmup"], id="warmup-numbers"),
        pytest.param("{simple: RANDOM, zoneAwareLbSetting: {enabled: true}}",
                     [f"error {BALANCER}.zoneAwareLbSetting unsupported"], id="zones"),
        pytest.param("{localityLbSetting: {distribute: [{from: a/*, to: {a: 70, b: 30}}]}}", [],
                     id="distribute"),
        pytest.param("{localityLbSetting: {distribute: [{from: a, to: {a: 70, b: 20}}]}}",
                     [f"error {BALANCER}.localityLbSetting.distribute[0].to locality"],
                     id="distribute-sum"),
        pytest.param("{localityLbSetting: {distribute: [{from: a, to: {a: 0, b: 100}}]}}",
                     [f"error {BALANCER}.localityLbSetting.distribute[0].to.a locality"],
                     id="distribute-zero"),
        pytest.param("{localityLbSetting: {distribute: [{from: a, to: {b/*: 50, b/c: 50}}]}}",
                     [f"error {BALANCER}.localityLbSetting.distribute[0].to.b/c locality"],
                     id="distribute-overlap"),
        pytest.param("{localityLbSetting: {distribute: [{from: a, to: {a: 100}},"
                     " {from: a/b, to: {a: 100}}]}}",
                     [f"error {BALANCER}.localityLbSetting.distribute[1].from locality"],
                     id="origins-overlap"),
        pytest.param("{localityLbSetting: {distribute: [{from: a, to: {a: 100}},"
                     " {from: b, to: {a: 100}}]}}", [], id="origins-differ"),
        pytest.param("{localityLbSetting: {distribute: [{from: a, to: {a: 100}}],"
                     " failover: [{from: a, to: b}]}}",
                     [f"error {BALANCER}.localityLbSetting.failover one-of",
                      f"warning {BALANCER}.localityLbSetting failover"],
                     id="distribute-and-failover"),
        pytest.param("{localityLbSetting: {failover: [{from: a, to: a}, {from: a/b, to: '*'}]}}",
                     [f"warning {BALANCER}.localityLbSetting failover",
                      f"error {BALANCER}.localityLbSetting.failover[0].to locality",
                      f"error {BALANCER}.localityLbSetting.failover[1].from locality",
                      f"error {BALANCER}.localityLbSetting.failover[1].to locality"],
                     id="failover-regions"),
    ],
)  # fmt: skip
def test_load_balancer(balancer: str, expected: list[str]) -> None:
    spec = POLICY % f"{{loadBalancer: {balancer}}}"
    assert sorted(found("DestinationRule", spec)) == sorted(expected)


def test_failover_with_outlier_detection_is_fine() -> None:
    setting = "{localityLbSetting: {failover: [{from: a, to: b}]}}"
    policy = f"{{loadBalancer: {setting}, {OUTLIER}}}"
    assert found("DestinationRule", POLICY % policy) == []


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        pytest.param("{mode: ISTIO_MUTUAL}", [], id="istio-mutual"),
        pytest.param("{mode: ISTIO_MUTUAL, clientCertificate: /a}",
                     ["error spec.trafficPolicy.tls.clientCertificate not-allowed"],
                     id="istio-mutual-with-files"),
        pytest.param("{mode: SIMPLE}", [], id="simple"),
        pytest.param("{mode: MUTUAL, clientCertificate: /a, privateKey: /b}", [], id="files"),
        pytest.param("{mode: MUTUAL, clientCertificate: /a}",
                     ["error spec.trafficPolicy.tls.privateKey required"], id="no-key"),
        pytest.param("{mode: MUTUAL, credentialName: c}", [], id="credential"),
        pytest.param("{mode: SIMPLE, credentialName: c-cacert}", [], id="credential-of-roots"),
        pytest.param("{mode: MUTUAL, credentialName: c-cacert}",
                     ["error spec.trafficPolicy.tls.credentialName credential"],
                     id="no-certificate-in-roots"),
        pytest.param("{mode: SIMPLE, credentialName: c, caCrl: /d}",
                     ["error spec.trafficPolicy.tls.caCrl not-allowed"], id="credential-and-crl"),
        pytest.param('{mode: SIMPLE, sni: "a\\0"}',
                     ["error spec.trafficPolicy.tls.sni sni"], id="server-name-with-zero-byte"),
        pytest.param("{mode: SIMPLE, caCertificates: /a~b}",
                     ["error spec.trafficPolicy.tls.caCertificates file"], id="file-with-tilde"),
        pytest.param("{mode: MUTUAL, credentialName: c, privateKey: /b}",
                     ["error spec.trafficPolicy.tls.privateKey not-allowed"],
                     id="credential-and-file"),
        pytest.param("{mode: SIMPLE, credentialName: 'configmap://shop/c'}", [],
                     id="own-config-map"),
        pytest.param("{mode: SIMPLE, credentialName: 'configmap://other/c'}",
                     ["error spec.trafficPolicy.tls.credentialName credential"],
                     id="foreign-config-map"),
        pytest.param("{mode: SIMPLE, insecureSkipVerify: true, caCertificates: /c,"
                     " subjectAltNames: [a]}",
                     ["error spec.trafficPolicy.tls.caCertificates not-allowed",
                      "error spec.trafficPolicy.tls.subjectAltNames not-allowed"],
                     id="skip-verify-with-ca"),
    ],
)  # fmt: skip
def test_tls(tls: str, expected: list[str]) -> None:
    assert sorted(found("DestinationRule", POLICY % f"{{tls: {tls}}}")) == expected


def test_tls_of_subsets_and_ports_is_judged_as_well() -> None:
    foreign = "{mode: SIMPLE, credentialName: 'configmap://other/c'}"
    spec = (
        "{host: a, subsets: [{name: v1, trafficPolicy: {portLevelSettings: "
        f"[{{port: {{number: 80}}, tls: {foreign}}}]}}}}]}}"
    )
    at = "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.credentialName"
    assert found("DestinationRule", spec) == [f"error {at} credential"]
