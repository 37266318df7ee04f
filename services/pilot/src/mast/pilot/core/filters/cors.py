"""Cross-origin policies of HTTP routes."""

from typing import Final

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from istio.networking.v1alpha3 import virtual_service_pb2 as api
from mast.pilot.core.filters.faults import fraction
from mast.pilot.core.scope.matches import matches_anything, string_matcher

CORS_FILTER: Final = "envoy.filters.http.cors"


def cors_policy(policy: api.CorsPolicy) -> CorsPolicy:
    """The per-route policy; preflights of other origins are forwarded by default (pilot.md F).

    [1.x] `allowOrigin` lists exact origins, used only where `allowOrigins` is empty.
    """
    origins = [
        string_matcher(api.StringMatch(exact="*") if matches_anything(origin) else origin)
        for origin in policy.allow_origins
    ] or [StringMatcher(exact=origin) for origin in policy.allow_origin]
    result = CorsPolicy(
        allow_origin_string_match=origins,
        allow_methods=",".join(policy.allow_methods),
        allow_headers=",".join(policy.allow_headers),
        expose_headers=",".join(policy.expose_headers),
        filter_enabled=RuntimeFractionalPercent(default_value=fraction(100)),
        forward_not_matching_preflights=BoolValue(
            value=policy.unmatched_preflights != api.CorsPolicy.IGNORE
        ),
    )
    if policy.HasField("max_age"):
        result.max_age = str(policy.max_age.ToSeconds())
    if policy.HasField("allow_credentials"):
        result.allow_credentials.CopyFrom(policy.allow_credentials)
    return result
