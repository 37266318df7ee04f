"""Attributes, expressions and calls of Mixer, for people and scripts."""
