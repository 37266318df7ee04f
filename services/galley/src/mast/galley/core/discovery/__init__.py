"""A cluster's Services, endpoints, Pods and Nodes as the mesh's canonical registry."""
