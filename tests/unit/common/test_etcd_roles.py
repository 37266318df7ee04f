"""What each service may touch in the shared state."""

import pytest

from mast.common import keys
from mast.common.etcd.roles import ROLES, Grant, Role, grants

SCHEMA = sorted(
    value
    for name, value in vars(keys).items()
    if name.isupper() and isinstance(value, str) and value.endswith("/")
)

# Pods of a platform are Galley's, what registers itself is Pilot's; whose is whose, names tell.
SHARED = {keys.REGISTRY_WORKLOADS: {"galley", "pilot"}}


@pytest.mark.parametrize("prefix", SCHEMA)
def test_somebody_writes_below_every_prefix_of_the_schema(prefix: str) -> None:
    """Who adds a prefix says whose it is; the registry of services and endpoints is Galley's."""
    writable = [each for role in ROLES.values() for each in role.writes]
    assert any(each.startswith(prefix) or prefix.startswith(each) for each in writable)


@pytest.mark.parametrize("user", sorted(ROLES))
def test_nobody_writes_what_others_write(user: str) -> None:
    own = ROLES[user].writes
    others = [
        each
        for name, role in ROLES.items()
        if name != user
        for each in role.writes
        if {name, user} != SHARED.get(each)
    ]
    assert not [
        (mine, theirs)
        for mine in own
        for theirs in others
        if (mine.startswith(theirs) or theirs.startswith(mine))
    ]


@pytest.mark.parametrize(
    ("key", "read", "write"),
    [
        pytest.param("config/a", True, True, id="own"),
        pytest.param("trust/a", True, False, id="to-read"),
        pytest.param("configuration", False, False, id="like-it"),
        pytest.param("", False, False, id="root"),
    ],
)
def test_a_role(key: str, read: bool, write: bool) -> None:
    role = Role(reads=("trust/",), writes=("config/",))
    assert (role.may_read(key), role.may_write(key)) == (read, write)


def test_grants_are_ranges_of_full_keys() -> None:
    role = Role(reads=("trust/",), writes=("config/",))
    assert list(grants(role, "/mesh")) == [
        Grant(b"/mesh/", b"", write=False),
        Grant(b"/mesh/trust/", b"/mesh/trust0", write=False),
        Grant(b"/mesh/config/", b"/mesh/config0", write=True),
    ]
