"""Which addresses a server may have: a name that can be pointed anywhere must not lead into the cluster. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from vernacular_trainer.contract import HttpsConfig

# where clouds tell machines who they are; most of them are link-local, these are not
_METADATA = frozenset(
    ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254")
)
_NAT64 = IPv6Network("64:ff9b::/96")


def may_reach(allowed: HttpsConfig, host: str, port: int, address: str) -> bool:
    """Whether `host`, which is listed, may be reached at an address that its name stands for.

    Public addresses may be; private ones when the list has the host by its own name; those of the machine itself, of
    its link, and of metadata services only when the list names the address.
    """
    if host == address:
        return allowed.names(host, port)
    found = _ip(address)
    if _is_local(found):
        return False
    return (found.is_global and not found.is_reserved) or allowed.names(host, port)


def may_hold_objects(allowed: HttpsConfig, host: str, port: int, address: str) -> bool:
    """Whether a server of buckets, which any job may name, may be reached at an address that its name stands for.

    Those of the machine itself, of its link, and of metadata services only when the list names the address.
    """
    return not _is_local(_ip(address)) or (host == address and allowed.names(host, port))


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is of the machine itself, of its link, of many, or of a metadata service."""
    of_machine = address.is_loopback or address.is_link_local or address.is_unspecified
    return of_machine or address.is_multicast or address in _METADATA


def _ip(address: str) -> IPv4Address | IPv6Address:
    return _meant(ip_address(address.partition("%")[0]))


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an address of IPv6 only wraps, else the address itself."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
