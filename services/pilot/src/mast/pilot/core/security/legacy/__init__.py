"""Security kinds of Istio 1.0 to 1.4: authentication policies, roles and bindings (J7, J8)."""
