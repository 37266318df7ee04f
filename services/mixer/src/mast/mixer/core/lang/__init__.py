"""The expression language CEXL: text to types to Python code objects (mixer.md E)."""
