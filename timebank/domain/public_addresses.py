"""Which addresses are on the public internet: all others are somebody's inside, perhaps ours.

By the IANA registries of special addresses, IPv4 (RFC 6890 and later) and IPv6; of IPv6 only what
was ever given out, and nothing that carries an IPv4 address within.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

_NOT_PUBLIC_4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a carrier's NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # not special by the registry, but inside of one large cloud
        "169.254.0.0/16",  # link-local, and clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols
        "192.0.2.0/24",  # examples
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # examples
        "203.0.113.0/24",  # examples
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]

_GIVEN_OUT_6 = IPv6Network("2000::/3")

_NOT_PUBLIC_6 = [
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocols, with Teredo, ORCHID and benchmarks
        "2001:db8::/32",  # examples
        "2002::/16",  # 6to4: an IPv4 address within
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the old test network
        "3fff::/20",  # examples
    )
]


def is_public(address: str) -> bool:
    """Return whether an address is public; what is no plain address is not."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return found.is_global and not any(found in block for block in _NOT_PUBLIC_4)
    return (
        found.is_global
        and found.scope_id is None
        and found in _GIVEN_OUT_6
        and not any(found in block for block in _NOT_PUBLIC_6)
    )
