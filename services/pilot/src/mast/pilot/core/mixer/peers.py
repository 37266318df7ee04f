"""How a proxy tells the next one which workload calls (mixer_proxy.md C.5, "forwarded").

Mixer believes it only of callers whose address is no workload's, such as those of a laptop mesh
without network namespaces. Differs from Istio, whose proxies send a base64 message that stock Envoy
cannot compose; Mixer still reads that header, `x-istio-attributes`, of old proxies.
"""

from collections.abc import Iterator
from typing import Final

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    Mutations,
)
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.filters.header_operations import SET
from mast.pilot.core.mixer.calls import SELF
from mast.pilot.core.packing import packed

HEADER: Final = "x-mast-peer"
OLD_HEADER: Final = "x-istio-attributes"
FILTER_STATE: Final = "istio.mixer.peer"
"""Where access logs find the header, which is gone by then."""

_VALUE: Final = f"{SELF},%ENVIRONMENT(INSTANCE_IP)%"


def received(direction: Direction) -> Iterator[HttpFilter]:
    """Keep what a caller told, for access logs."""
    if direction is Direction.INBOUND:
        value = FilterStateValue(
            object_key=FILTER_STATE,
            factory_key="envoy.string",
            format_string=SubstitutionFormatString(
                text_format_source=DataSource(
                    inline_string=f"%REQ({HEADER}?{OLD_HEADER})%",
                )
            ),
            skip_if_empty=True,
        )
        config = Config(on_request_headers=[value])
        yield HttpFilter(name="envoy.filters.http.set_filter_state", typed_config=packed(config))


def forwarded(direction: Direction) -> Iterator[HttpFilter]:
    """Take what a caller told out of a request, or put in who calls."""
    if direction is Direction.INBOUND:
        changes = [Mutation(remove=HEADER), Mutation(remove=OLD_HEADER)]
    else:
        changes = [
            Mutation(remove=OLD_HEADER),
            Mutation(
                append=HeaderValueOption(
                    header=HeaderValue(key=HEADER, value=_VALUE), append_action=SET
                )
            ),
        ]
    config = HeaderMutation(mutations=Mutations(request_mutations=changes))
    yield HttpFilter(name="envoy.filters.http.header_mutation", typed_config=packed(config))
