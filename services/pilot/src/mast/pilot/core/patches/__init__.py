"""EnvoyFilters: changes that users make to what Pilot generates (pilot.md K1 to K3)."""
