"""The adapters that run inside Mixer (mixer.md G.1): pure state with injected edges."""
