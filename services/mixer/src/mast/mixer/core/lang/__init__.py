"""The expression language CEXL run: typed trees to Python code objects (mixer.md E)."""
