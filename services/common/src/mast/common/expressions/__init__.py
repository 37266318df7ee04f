"""The expression language CEXL as text: read and typed, not run (mixer.md E)."""
