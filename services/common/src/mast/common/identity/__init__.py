"""Who is who in the mesh: SPIFFE identities, certificates of one's own, roots of others, TLS."""
