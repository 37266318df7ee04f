"""Rules, instances and handlers compiled into one immutable snapshot (mixer.md D)."""
