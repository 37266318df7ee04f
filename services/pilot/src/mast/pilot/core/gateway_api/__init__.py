"""Gateway API and Ingress in the terms of Istio's own objects (pilot.md I7, I8)."""
