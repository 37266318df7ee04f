"""Who may call a workload: AuthorizationPolicies as RBAC and external authorization (J4 to J6)."""
