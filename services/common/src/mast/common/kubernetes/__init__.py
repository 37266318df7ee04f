"""The Kubernetes API for asyncio services: what Mast needs of it, and nothing generated.

Objects are the API's own JSON (``Object``). :func:`connect` gives an :class:`Api` of one cluster;
:func:`follow` keeps a kind's objects in step with it.
"""

from mast.common.kubernetes.access import Access, InvalidAccess, in_cluster, kubeconfig
from mast.common.kubernetes.api import Api, Listing, Patch, connect
from mast.common.kubernetes.errors import (
    AlreadyExists,
    ApiError,
    ApiFailure,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
    Unreachable,
)
from mast.common.kubernetes.follow import Batch, Change, Form, follow, follow_as
from mast.common.kubernetes.objects import Object, Resource, labels_of, name_of, namespace_of

__all__ = [
    "Access",
    "AlreadyExists",
    "Api",
    "ApiError",
    "ApiFailure",
    "Batch",
    "Change",
    "Conflict",
    "Expired",
    "Forbidden",
    "Form",
    "Invalid",
    "InvalidAccess",
    "Listing",
    "NotFound",
    "Object",
    "Patch",
    "Resource",
    "Unauthorized",
    "Unreachable",
    "connect",
    "follow",
    "follow_as",
    "in_cluster",
    "kubeconfig",
    "labels_of",
    "name_of",
    "namespace_of",
]
