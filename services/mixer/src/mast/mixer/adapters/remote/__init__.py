"""Adapters out of process (mixer.md G.4): `handler` calls them, `backend` connects to them.

`security` says how the connection is protected and who is told to be calling, `tunnel` carries TLS.
"""
