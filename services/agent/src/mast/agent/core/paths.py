"""Where files are, relative to the working directory (citadel-and-agent.md B2, B3, B4)."""

from typing import Final

TOKEN: Final = "./var/run/secrets/tokens/istio-token"  # noqa: S105 - a path, no secret
ROOT_CERTIFICATE: Final = "./var/run/secrets/istio/root-cert.pem"
CERTIFICATE_REVOCATIONS: Final = "./var/run/secrets/istio/crl/ca-crl.pem"
WORKLOAD_CREDENTIALS: Final = "./var/run/secrets/workload-spiffe-credentials"
MOUNTED_CERTIFICATES: Final = "./etc/certs"
WORKLOAD_SOCKETS: Final = "./var/run/secrets/workload-spiffe-uds"
FILES_SOCKET: Final = "./var/run/secrets/credential-uds/files-socket"
XDS_SOCKET: Final = "./etc/istio/proxy/XDS"
BOOTSTRAP: Final = "./etc/istio/proxy/envoy-rev.json"
MODULES: Final = "./var/lib/istio/data"
POD_LABELS: Final = "./etc/istio/pod/labels"
POD_ANNOTATIONS: Final = "./etc/istio/pod/annotations"

PULL_SECRET_FILE: Final = ".dockerconfigjson"  # noqa: S105 - the name of a file
CHAIN_FILE: Final = "cert-chain.pem"
KEY_FILE: Final = "key.pem"
ROOT_FILE: Final = "root-cert.pem"
