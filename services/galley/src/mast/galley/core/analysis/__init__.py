"""Analysis: what is wrong with objects together, by Istio's codes (galley-and-kubernetes.md A8)."""
