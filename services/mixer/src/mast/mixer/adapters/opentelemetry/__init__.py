"""Adapter ``opentelemetry``: metrics, log entries and spans over OTLP, beyond Istio.

`adapter` is the handler, `metrics` counts, `records` translates, `collector` says what is sent,
`transports` how.
"""
