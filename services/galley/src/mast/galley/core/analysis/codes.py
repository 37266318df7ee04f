"""The table of messages: code, name, level (galley-and-kubernetes.md A8), one sentence for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

DOCUMENTATION = "docs/analysis.md"
"""Where every code is explained, under a heading of its own."""


class Level(IntEnum):
    """How bad a message is; a greater one is worse."""

    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def label(self) -> str:
        """The level as it is printed and written on a command line."""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Code:
    """One sort of message; ``number`` is ``IST0101``, ``name`` as Istio's tools print it.

    ``seen_in`` says what it takes to tell: ``objects``, ``cluster`` (processes that run, or several
    versions of Istio), ``other`` (a newer code tells it), ``ambient`` (not in this mesh).
    """

    number: str
    name: str
    level: Level
    meaning: str
    seen_in: str = "objects"

    @property
    def documentation(self) -> str:
        """Where it is explained."""
        return f"{DOCUMENTATION}#{self.number.lower()}"


_E, _W, _I = Level.ERROR, Level.WARNING, Level.INFO

_TABLE = (
    Code("IST0001", "InternalError", _E, "an analyzer failed"),
    Code("IST0002", "Deprecated", _W, "a deprecated field, value or kind is used"),
    Code("IST0101", "ReferencedResourceNotFound", _E, "something is named that is not there"),
    Code("IST0102", "NamespaceNotInjected", _I, "pods of the namespace get no sidecar"),
    Code("IST0103", "PodMissingProxy", _W, "a pod should have a sidecar and has none"),
    Code("IST0104", "GatewayPortNotOnWorkload", _W, "a gateway port is on no pod", "other"),
    Code("IST0105", "IstioProxyVersionMismatch", _W, "a sidecar is of an old version", "other"),
    Code("IST0106", "SchemaValidationError", _E, "an object is invalid and would be refused"),
    Code("IST0107", "MisplacedAnnotation", _W, "an annotation is on the wrong kind"),
    Code("IST0108", "UnknownAnnotation", _W, "an annotation of the mesh is not known"),
    Code(
        "IST0109",
        "ConflictingMeshGatewayVirtualServiceHosts",
        _E,
        "several VirtualServices claim a host for sidecars",
    ),
    Code(
        "IST0110", "ConflictingSidecarWorkloadSelectors", _E, "several Sidecars select one workload"
    ),
    Code(
        "IST0111",
        "MultipleSidecarsWithoutWorkloadSelectors",
        _E,
        "a namespace has several Sidecars for all of its workloads",
    ),
    Code(
        "IST0112",
        "VirtualServiceDestinationPortSelectorRequired",
        _E,
        "a destination with several ports names none",
    ),
    Code(
        "IST0116",
        "DeploymentAssociatedToMultipleServices",
        _W,
        "Services give one port of a workload different protocols",
    ),
    Code("IST0118", "PortNameIsNotUnderNamingConvention", _I, "a port does not tell its protocol"),
    Code(
        "IST0119",
        "JwtFailureDueToInvalidServicePortPrefix",
        _W,
        "tokens are wanted on a port that is not HTTP",
    ),
    Code(
        "IST0123",
        "NamespaceMultipleInjectionLabels",
        _W,
        "a namespace has both labels for injection",
    ),
    Code("IST0125", "InvalidAnnotation", _W, "an annotation has an impossible value"),
    Code("IST0126", "UnknownMeshNetworksServiceRegistry", _E, "a network names no known registry"),
    Code("IST0127", "NoMatchingWorkloadsFound", _W, "a selector selects nothing"),
    Code(
        "IST0128",
        "NoServerCertificateVerificationDestinationLevel",
        _W,
        "TLS without a CA to check the server against",
    ),
    Code(
        "IST0129",
        "NoServerCertificateVerificationPortLevel",
        _W,
        "TLS of a port without a CA to check the server against",
    ),
    Code("IST0130", "VirtualServiceUnreachableRule", _W, "a rule can never be reached"),
    Code("IST0131", "VirtualServiceIneffectiveMatch", _I, "a match is repeated"),
    Code(
        "IST0132", "VirtualServiceHostNotFoundInGateway", _W, "a host is not served by the gateway"
    ),
    Code("IST0133", "SchemaWarning", _W, "an object is valid, but something in it is doubtful"),
    Code("IST0134", "ServiceEntryAddressesRequired", _W, "a TCP port needs addresses"),
    Code("IST0135", "DeprecatedAnnotation", _I, "an annotation is deprecated"),
    Code("IST0136", "AlphaAnnotation", _I, "an annotation is an experiment"),
    Code("IST0137", "DeploymentConflictingPorts", _W, "Services give one target several ports"),
    Code("IST0138", "GatewayDuplicateCertificate", _W, "Gateways share a certificate"),
    Code("IST0139", "InvalidWebhook", _E, "injectors overlap or lead nowhere"),
    Code(
        "IST0140",
        "IngressRouteRulesNotAffected",
        _W,
        "subsets chosen for sidecars do not hold at a gateway",
    ),
    Code("IST0141", "InsufficientPermissions", _E, "an installer may not do enough", "cluster"),
    Code("IST0142", "UnsupportedKubernetesVersion", _E, "Kubernetes is too old", "cluster"),
    Code("IST0143", "LocalhostListener", _E, "a service listens on loopback only", "cluster"),
    Code("IST0144", "InvalidApplicationUID", _W, "an application runs as the sidecar's user"),
    Code("IST0145", "ConflictingGateways", _E, "Gateways claim one port and host"),
    Code(
        "IST0146",
        "ImageAutoWithoutInjectionWarning",
        _W,
        "a template wants an image that nobody injects",
    ),
    Code(
        "IST0147", "ImageAutoWithoutInjectionError", _E, "a pod wants an image that nobody injects"
    ),
    Code(
        "IST0148",
        "NamespaceInjectionEnabledByDefault",
        _I,
        "a namespace is injected though it does not ask for it",
    ),
    Code(
        "IST0149",
        "JwtClaimBasedRoutingWithoutRequestAuthN",
        _E,
        "routes look at claims of tokens that nobody checks",
    ),
    Code(
        "IST0150",
        "ExternalNameServiceTypeInvalidPortName",
        _W,
        "an alias for another host has a TCP port",
    ),
    Code("IST0151", "EnvoyFilterUsesRelativeOperation", _W, "a patch depends on patches before it"),
    Code(
        "IST0152", "EnvoyFilterUsesReplaceOperationIncorrectly", _E, "REPLACE does not go with it"
    ),
    Code("IST0153", "EnvoyFilterUsesAddOperationIncorrectly", _E, "ADD does not go with it"),
    Code("IST0154", "EnvoyFilterUsesRemoveOperationIncorrectly", _E, "REMOVE does not go with it"),
    Code(
        "IST0155",
        "EnvoyFilterUsesRelativeOperationWithProxyVersion",
        _W,
        "a patch for one version depends on patches before it",
    ),
    Code("IST0156", "UnsupportedGatewayAPIVersion", _E, "definitions of Gateway API are too old"),
    Code("IST0157", "InvalidTelemetryProvider", _W, "a Telemetry has no provider"),
    Code(
        "IST0158",
        "PodsIstioProxyImageMismatchInNamespace",
        _W,
        "sidecars differ from what is injected",
    ),
    Code(
        "IST0159",
        "ConflictingTelemetryWorkloadSelectors",
        _E,
        "several Telemetry objects select one workload",
    ),
    Code(
        "IST0160",
        "MultipleTelemetriesWithoutWorkloadSelectors",
        _E,
        "a namespace has several Telemetry objects for all of its workloads",
    ),
    Code("IST0161", "InvalidGatewayCredential", _E, "a Secret is no certificate for a gateway"),
    Code(
        "IST0162", "GatewayPortNotDefinedOnService", _W, "no Service leads to a port of a gateway"
    ),
    Code(
        "IST0163", "InvalidExternalControlPlaneConfig", _W, "a webhook leads to no usable address"
    ),
    Code(
        "IST0164",
        "ExternalControlPlaneAddressIsNotAHostname",
        _I,
        "a webhook leads to an address, not to a name",
    ),
    Code("IST0165", "ReferencedInternalGateway", _W, "a generated gateway is named"),
    Code("IST0166", "IneffectiveSelector", _W, "a gateway of Gateway API needs targetRefs"),
    Code("IST0167", "IneffectivePolicy", _W, "a policy has no effect"),
    Code("IST0168", "UnknownUpgradeCompatibility", _W, "an upgrade cannot be judged", "cluster"),
    Code("IST0169", "UpdateIncompatibility", _W, "an upgrade changes defaults", "cluster"),
    Code("IST0170", "MultiClusterInconsistentService", _W, "a service differs by cluster"),
    Code("IST0171", "NegativeConditionStatus", _W, "a controller says that something is wrong"),
    Code("IST0172", "FutureGatewayAPIVersion", _W, "definitions of Gateway API are too new"),
    Code("IST0173", "DestinationRuleSubsetNotSelectPods", _E, "a subset selects nothing"),
    Code("IST0174", "UnknownDestinationRuleHost", _W, "a DestinationRule is for no known host"),
    Code("IST0175", "JwksUriFetchUnrestricted", _W, "keys may be fetched from anywhere"),
    Code(
        "IST0176",
        "GatewayAPICRDVersionBelowMinimum",
        _W,
        "definitions of Gateway API are older than what is made use of",
    ),
    Code(
        "IST0177",
        "ConflictingServiceEntryProtocol",
        _W,
        "ServiceEntries give one host and port different protocols",
    ),
)

CODES: Mapping[str, Code] = {code.number: code for code in _TABLE}
"""Every code, in order."""
