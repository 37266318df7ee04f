"""What proxies log, trace and measure, and where they send it (Istio Telemetry)."""
