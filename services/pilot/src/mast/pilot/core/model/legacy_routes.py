"""Fields of VirtualServices up to Istio 1.4, said with those of today."""

from collections.abc import Iterator, Mapping

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Headers,
    HTTPRoute,
    HTTPRouteDestination,
    VirtualService,
)


def modern(spec: VirtualService) -> VirtualService:
    """The same rules without fields that later releases gave up; a new message if there are any.

    Headers that were appended, by whatever name, are added to those of the route or destination; a
    header that today's fields add or set as well keeps the value they give it.
    """
    if not any(_is_old(part) for route in spec.http for part in _parts(route)):
        return spec
    result = VirtualService()
    result.CopyFrom(spec)
    for route in result.http:
        for part in _parts(route):
            if _is_old(part):
                _renew(part)
    return result


def _parts(route: HTTPRoute) -> Iterator[HTTPRoute | HTTPRouteDestination]:
    yield route
    yield from route.route


def _is_old(part: HTTPRoute | HTTPRouteDestination) -> bool:
    return bool(
        part.append_request_headers
        or part.append_response_headers
        or part.remove_request_headers
        or part.remove_response_headers
        or (isinstance(part, HTTPRoute) and part.append_headers)
    )


def _renew(part: HTTPRoute | HTTPRouteDestination) -> None:
    if isinstance(part, HTTPRoute):
        _add(part.headers.request, part.append_headers)
        part.ClearField("append_headers")
    _add(part.headers.request, part.append_request_headers)
    _add(part.headers.response, part.append_response_headers)
    part.headers.request.remove.extend(part.remove_request_headers)
    part.headers.response.remove.extend(part.remove_response_headers)
    part.ClearField("append_request_headers")
    part.ClearField("append_response_headers")
    part.ClearField("remove_request_headers")
    part.ClearField("remove_response_headers")


def _add(operations: Headers.HeaderOperations, values: Mapping[str, str]) -> None:
    for header in sorted(values):
        if header not in operations.set and header not in operations.add:
            operations.add[header] = values[header]
