"""Sidecar injection: whether a pod gets a proxy, and what becomes of it (part C).

Section numbers in this room are those of galley-and-kubernetes.md. Pods are plain JSON objects, as
Kubernetes has them; nothing here changes the one it was given.
"""
