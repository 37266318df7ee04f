"""Mixer's configuration objects for tests, as users write them."""

from __future__ import annotations

MANIFEST = """
kind: attributemanifest
metadata: {name: basic}
spec:
  attributes:
    source.namespace: {valueType: STRING}
    source.labels: {valueType: STRING_MAP}
    source.uid: {valueType: STRING}
    source.ip: {valueType: IP_ADDRESS}
    response.code: {valueType: INT64}
    request.time: {valueType: TIMESTAMP}
    unspecified: {}
---
"""


DENY = """
kind: handler
metadata: {name: deny}
spec: {compiledAdapter: denier, params: {status: {code: 9, message: denied}}}
---
"""


NOTHING = """
kind: instance
metadata: {name: nothing}
spec: {compiledTemplate: checknothing}
---
"""


def rule(body: str, name: str = "r", namespace: str = "istio-system") -> str:
    return f"""
kind: rule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {body}
---
"""


def metric(params: str, extra: str = "") -> str:
    return f"""
kind: instance
metadata: {{name: m}}
spec: {{compiledTemplate: metric, params: {params}{extra}}}
---
"""


GENERATOR = """
kind: handler
metadata: {name: env}
spec: {compiledAdapter: kubernetesenv}
---
"""
