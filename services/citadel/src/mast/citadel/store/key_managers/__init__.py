"""Where the CA's private keys are kept (citadel-and-agent.md A12, "key managers").

`pkcs11` needs the extra `mast-citadel[pkcs11]`; `kms` talks to a plug-in of the operator's.
"""
