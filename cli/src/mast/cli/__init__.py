"""mastctl: the command line of the Mast service mesh."""

import os

# We start programs while gRPC's threads run: its fork handlers could do nothing but complain.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
