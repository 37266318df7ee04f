"""Header fields of Istio 1.0 to 1.4 (contracts: fields that are gone)."""

from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.pilot.core.model.legacy_routes import modern
from tests.support.messages import made


def test_old_fields_become_header_operations() -> None:
    old = made(
        VirtualService,
        """
        http:
        - appendHeaders: {a: "1", both: old, set: old}
          appendRequestHeaders: {b: "2"}
          removeRequestHeaders: [c]
          appendResponseHeaders: {d: "4"}
          removeResponseHeaders: [e]
          headers: {request: {add: {both: new}, set: {set: new}, remove: [z]}}
          route:
          - destination: {host: x}
            appendRequestHeaders: {b: "2"}
            removeRequestHeaders: [c]
            appendResponseHeaders: {d: "4"}
            removeResponseHeaders: [e]
        """,
    )
    before = old.SerializeToString(deterministic=True)
    assert modern(old) == made(
        VirtualService,
        """
        http:
        - headers:
            request: {add: {a: "1", b: "2", both: new}, set: {set: new}, remove: [z, c]}
            response: {add: {d: "4"}, remove: [e]}
          route:
          - destination: {host: x}
            headers:
              request: {add: {b: "2"}, remove: [c]}
              response: {add: {d: "4"}, remove: [e]}
        """,
    )
    assert old.SerializeToString(deterministic=True) == before


def test_without_old_fields_it_is_the_same_object() -> None:
    spec = made(VirtualService, "{http: [{headers: {request: {add: {a: b}}}}]}")
    assert modern(spec) is spec
