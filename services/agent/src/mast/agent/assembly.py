"""Puts the parts of one agent together from its inputs; starts nothing (wiring, with main)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random

import structlog
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from istio.mesh.v1alpha1.proxy_pb2 import AuthenticationPolicy, ProxyConfig
from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.api.dns import DnsProxy
from mast.agent.api.sds import SecretServer
from mast.agent.api.xds import AdsProxy, Dial
from mast.agent.config import Config
from mast.agent.core import ads, dns, paths, probers, scrape
from mast.agent.core.bootstrap import Places, bootstrap
from mast.agent.core.collectors import GONE
from mast.agent.core.probers import Probe
from mast.agent.core.readiness import Readiness
from mast.agent.store import identity, sockets
from mast.agent.store.credentials import Credentials, Identity
from mast.agent.store.draining import Drain
from mast.agent.store.files import text_if_there
from mast.agent.store.inputs import Inputs
from mast.agent.store.key_pairs import Mounted
from mast.agent.store.metering import Meters
from mast.agent.store.modules import LIMIT as MODULE_LIMIT
from mast.agent.store.modules import Modules
from mast.agent.store.pilot import DIAL, Call, Pilot, Unreachable
from mast.agent.store.registry import Registries, Unavailable
from mast.agent.store.resolver import Upstream
from mast.agent.store.token_endpoint import check_url
from mast.common.identity.ca_client import WorkloadCertificates
from mast.common.latest import Latest
from mast.common.process.telemetry import Metrics

log = structlog.get_logger()

_DEFAULT_SOCKET = "socket"


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """What the agent may not take from the air: wall clock, monotonic seconds, chance."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random: Random


@dataclass(frozen=True, kw_only=True)
class Agent:
    """The parts of an agent. ``certificates`` is None where files or another server give the
    identity; ``dns`` is None where DNS is not captured.
    """

    inputs: Inputs
    clocks: Clocks
    meters: Meters
    readiness: Readiness
    secrets: SecretServer
    credentials: Credentials
    mounted: Mounted | None
    certificates: WorkloadCertificates | None
    dial: Dial
    ads: AdsProxy
    table: Latest[NameTable | None]
    dns: DnsProxy | None
    search: tuple[str, ...]
    places: Places
    bootstrap: Bootstrap
    probers: dict[str, Probe]
    scraped: tuple[str, ...]
    drain: Drain
    status_host: str

    @property
    def sds_socket(self) -> str:
        """Where this agent serves secrets: the workload's socket, or the one for files."""
        return self.places.files_socket or self.places.sds_socket


def assemble(inputs: Inputs, clocks: Clocks) -> Agent:
    """Make the parts. Raises ValueError or OSError for what cannot work (B10)."""
    config, proxy_config = inputs.config, inputs.proxy_config
    check_url(config.token_exchange_url)
    metrics = Metrics("agent")
    meters = Meters(metrics, clocks.monotonic)
    secrets = SecretServer()
    roots = tuple(each.encode() for each in proxy_config.ca_certificates_pem)
    credentials = Credentials(
        publish=secrets.publish,
        confirmed=secrets.confirmed,
        trust_domain=inputs.node.trust_domain,
        configured=roots,
        mesh_roots=Latest(()),
        revocations=paths.CERTIFICATE_REVOCATIONS,
        debounce=config.file_debounce,
        output=config.output_certs,
        output_mode=0o644 if "KUBERNETES_SERVICE_HOST" in inputs.env else 0o600,
        failed=meters.file_failed,
        watch_failed=meters.watch_failed,
        random=clocks.random.random,
    )
    _warn_of_tracer(proxy_config)
    places = _places(inputs)
    external = places.files_socket is not None
    mounted = None if external else identity.mounted(config)
    table: Latest[NameTable | None] = Latest(None)
    resolver = dns.resolver(_resolv_conf(config))
    dial = _dial(inputs, credentials, clocks, waits=not external)
    return Agent(
        inputs=inputs,
        clocks=clocks,
        meters=meters,
        readiness=Readiness(names_needed=config.dns_capture and not config.grpc_bootstrap),
        secrets=secrets,
        credentials=credentials,
        mounted=mounted,
        certificates=(
            None if external or mounted else _certificates(inputs, credentials, meters, clocks)
        ),
        dial=dial,
        ads=_ads_proxy(config, dial, credentials, table, clocks, trusts=not external),
        table=table,
        dns=_dns_proxy(config, resolver, metrics, clocks) if config.dns_capture else None,
        search=resolver.search,
        places=places,
        bootstrap=_bootstrap(inputs, places),
        probers=dict(probers.probers(config.app_probers)),
        scraped=scrape.urls(
            scrape.targets(config.prometheus_annotations),
            inputs.node.metadata.get("APP_ENDPOINTS", {}),
            ipv6_only=inputs.node.ipv6_only,
        ),
        drain=_drain(inputs),
        status_host=config.bind_address or ("::" if inputs.node.ipv6_only else "0.0.0.0"),  # noqa: S104
    )


def with_inputs(agent: Agent, inputs: Inputs) -> Agent:
    """An agent whose Envoy starts, and ends, by other inputs; all its other parts stay.

    Raises ValueError that names what cannot be used.
    """
    made = _bootstrap(inputs, agent.places)
    return replace(agent, inputs=inputs, bootstrap=made, drain=_drain(inputs))


def _bootstrap(inputs: Inputs, places: Places) -> Bootstrap:
    config = inputs.config
    return bootstrap(
        inputs.node,
        inputs.proxy_config,
        places,
        exit_on_zero=config.exit_on_zero,
        delta=config.delta_xds,
        outlier_log=inputs.flags.outlier_log_path,
    )


def _warn_of_tracer(proxy_config: ProxyConfig) -> None:
    tracer = proxy_config.tracing.WhichOneof("tracer")
    if tracer in GONE:
        log.warning("tracing.unsupported", tracer=tracer, allowed=["zipkin", "datadog"])


def _places(inputs: Inputs) -> Places:
    """Where everything listens; ``MAST_BIND_ADDRESS`` takes the place of all other addresses.

    A live server on the workload's socket, SPIRE for example, is used as it is; then the agent
    serves files only, on a socket of its own (B3.1).
    """
    config, proxy_config = inputs.config, inputs.proxy_config
    ipv6 = inputs.node.ipv6_only
    sds_socket = f"{paths.WORKLOAD_SOCKETS}/{config.sds_socket}"
    live = sockets.is_live(sds_socket)
    if not live and config.sds_socket != _DEFAULT_SOCKET:
        raise ValueError(f"WORKLOAD_IDENTITY_SOCKET_FILE: nobody serves {sds_socket}")
    return Places(
        bind=config.bind_address or ("::" if ipv6 else "0.0.0.0"),  # noqa: S104
        local=config.bind_address or ("::1" if ipv6 else "127.0.0.1"),
        admin_port=proxy_config.proxy_admin_port,
        agent_port=proxy_config.status_port,
        status_port=config.status_port,
        prometheus_port=config.prometheus_port,
        sds_socket=sds_socket,
        files_socket=paths.FILES_SOCKET if live else None,
        env=inputs.env,
    )


def _certificates(
    inputs: Inputs, credentials: Credentials, meters: Meters, clocks: Clocks
) -> WorkloadCertificates:
    return identity.certificates(
        inputs.config,
        inputs.node,
        inputs.env,
        address=inputs.config.ca_address or inputs.proxy_config.discovery_address,
        identity=credentials.identity,
        now=clocks.now,
        observe=meters.signing,
        before_retry=meters.before_retry,
    )


def _dial(inputs: Inputs, credentials: Credentials, clocks: Clocks, *, waits: bool) -> Dial:
    """Opens streams to Pilot. It ``waits`` a moment for the first certificate, so that the token,
    which may count only once, stays between the agent and Citadel.
    """
    config, node = inputs.config, inputs.node
    secure = inputs.proxy_config.control_plane_auth_policy != AuthenticationPolicy.NONE
    pilot = Pilot(
        address=inputs.proxy_config.discovery_address,
        plaintext=not secure,
        roots=identity.xds_roots(config, credentials.identity),
        client_cert=identity.presented(config, credentials.identity),
        token=identity.token,
        now=clocks.now,
        metadata=[("clusterid", node.cluster_id), *identity.headers(inputs.env, "XDS_HEADER_")],
        tls_server_name=config.istiod_san,
    )

    @asynccontextmanager
    async def dial(method: str) -> AsyncIterator[Call]:
        if waits:
            await _first(credentials.identity)
        async with pilot.stream(method) as call:
            yield call

    return dial


def _ads_proxy(
    config: Config,
    dial: Dial,
    credentials: Credentials,
    table: Latest[NameTable | None],
    clocks: Clocks,
    *,
    trusts: bool,
) -> AdsProxy:
    """The proxy between Envoy and Pilot. It asks for trust bundles if it is the one who serves
    them to Envoy.
    """
    wants = {ads.NDS} if config.dns_capture else set()
    if trusts:
        wants.add(ads.TBDS)
    if config.xds_agent_config:
        wants.add(ads.PCDS)

    def on_proxy_config(new: ProxyConfig) -> None:
        bundle = tuple(each.encode() for each in new.ca_certificates_pem)
        if bundle != credentials.mesh_roots.value:
            credentials.mesh_roots.publish(bundle)

    return AdsProxy(
        dial,
        unreachable=Unreachable,
        localise=_modules(config, clocks).localised,
        unavailable=Unavailable,
        wants=frozenset(wants),
        on_names=table.publish,
        on_proxy_config=on_proxy_config,
        on_bundles=credentials.trust,
    )


def _modules(config: Config, clocks: Clocks) -> Modules:
    def credentials(secret: str) -> str:
        return (Path(config.wasm_pull_secrets) / secret / paths.PULL_SECRET_FILE).read_text()

    insecure = {each.strip() for each in config.wasm_insecure_registries.split(",")} - {""}
    return Modules(
        directory=Path(paths.MODULES),
        registries=Registries(credentials, frozenset(insecure), MODULE_LIMIT),
        random=clocks.random.random,
        retries=config.wasm_retries,
        expiry=config.wasm_expiry,
        monotonic=clocks.monotonic,
    )


async def _first(identity: Latest[Identity | None]) -> None:
    """Wait until there is an identity, at most as long as dialling may take."""
    try:
        async with asyncio.timeout(DIAL.total_seconds()):
            await identity.after(None)
    except TimeoutError:
        log.warning("ads.without_certificate", waited_seconds=DIAL.total_seconds())


def _resolv_conf(config: Config) -> str:
    """The resolver's configuration: needed if DNS is captured, else without meaning."""
    return text_if_there(config.resolv_conf) if config.dns_capture else ""


def _dns_proxy(
    config: Config, resolver: dns.Resolver, metrics: Metrics, clocks: Clocks
) -> DnsProxy:
    if not resolver.servers:
        raise ValueError(f"{config.resolv_conf}: no nameserver, but DNS is to be captured")
    upstream = Upstream(
        servers=resolver.servers,
        timeout=config.dns_timeout,
        parallel=config.dns_parallel,
        random=clocks.random,
    )
    return DnsProxy(upstream.ask, metrics)


def _drain(inputs: Inputs) -> Drain:
    config, proxy_config = inputs.config, inputs.proxy_config
    return Drain(
        inbound_only=inputs.node.role != "router",
        exit_on_zero=config.exit_on_zero,
        termination=proxy_config.termination_drain_duration.ToTimedelta(),
        minimum=config.minimum_drain,
        own_ports=frozenset({config.status_port, config.prometheus_port}),
    )
