"""Addresses never meet: numbers, subnets, loopback lanes, ports."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from mast.cli.errors import CommandError
from mast.cli.local import addresses
from mast.cli.local.network import SUBNETS, Names, free_subnet


@pytest.mark.parametrize(("taken", "expected"), [((), 1), ((1, 2), 3), ((2, 3), 1), ((1, 3), 2)])
def test_the_smallest_free_number(taken: tuple[int, ...], expected: int) -> None:
    assert addresses.workload_number(taken) == expected


def test_bridge_addresses_do_not_meet_the_gateway() -> None:
    subnet = SUBNETS[0]
    found = {addresses.in_subnet(subnet, number) for number in range(1, 300)}
    assert len(found) == 299
    assert addresses.gateway(subnet) not in found
    network = ipaddress.ip_network(subnet)
    assert all(ipaddress.ip_address(a) in network for a in found)


def test_loopback_addresses_are_all_different() -> None:
    pairs = [addresses.on_loopback("beef", number) for number in range(1, 600)]
    flat = [address for pair in pairs for address in pair]
    assert len(set(flat)) == len(flat)
    assert all(ipaddress.ip_address(address).is_loopback for address in flat)


def test_meshes_do_not_meet() -> None:
    found = [
        address
        for tag in ("0000", "0001", "0040", "00ff", "0100", "fffe", "ffff")
        for number in range(1, 64)
        for address in (*addresses.on_loopback(tag, number), addresses.control(tag))
    ]
    assert len(set(found)) == 7 * (63 * 2 + 1)
    assert all(ipaddress.ip_address(each).is_loopback for each in found)


def test_a_taken_port_is_replaced() -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        taken = occupied.getsockname()[1]
        assert addresses.port("127.0.0.1", taken) not in {taken, 0}


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], SUBNETS[0]),
        (["10.213.4.1/24"], SUBNETS[1]),
        (["192.168.0.1/24", "fe80::1/64"], SUBNETS[0]),
    ],
)
def test_free_subnet(taken: list[str], expected: str) -> None:
    assert free_subnet(taken) == expected


def test_no_subnet_left_is_an_error() -> None:
    with pytest.raises(CommandError, match=r"10\.213\.0\.0/16"):
        free_subnet(["10.0.0.1/8"])


def test_interface_names_fit_the_kernel() -> None:
    names = Names("beef")
    assert len(names.bridge) <= 15
    assert len(names.link(99999)) <= 15
    for_namespaces, for_links = names.prefixes
    assert names.namespace("a-v1-1").startswith(for_namespaces)
    assert names.link(7).startswith(for_links)
