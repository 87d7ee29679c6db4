"""Which machines a foreign url may lead to: the address that a name has is checked, and that very one is asked.

A name that means something else a moment later (DNS rebinding) gains nothing: it is resolved once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import httpx

from adapter.errors import Rejected

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name, best first."""

_UNICAST: Final = IPv6Network("2000::/3")  # https://www.iana.org/assignments/ipv6-address-space
_NAT64: Final = IPv6Network(
    "64:ff9b::/96"
)  # https://www.rfc-editor.org/rfc/rfc6052, leads to the IPv4 address in it
# What Python counts as global all the same: addresses for protocols (192.0.0.192 gives away secrets in some clouds), 6to4.
_SPECIAL: Final = (IPv4Network("192.0.0.0/24"), IPv6Network("2002::/16"))
_PORTS: Final = {"http": 80, "https": 443}


class Checked(httpx.AsyncBaseTransport):
    """Asks the address that it checked, under the name that the url has: in TLS, certificate and `Host`.

    `private` says for which urls an address inside the site's own network is fine.
    """

    def __init__(
        self, over: httpx.AsyncBaseTransport, *, private: Callable[[httpx.URL], bool], resolve: Resolve
    ) -> None:
        self._over = over
        self._private = private
        self._resolve = resolve

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer of the first address that can be reached.

        Raises:
            Rejected: one of the addresses is not public.
            httpx.ConnectError: it has none, or none can be reached.
        """
        url = request.url
        addresses = await self._addresses(url)
        if not (self._private(url) or all(map(is_public, addresses))):
            raise Rejected("The url leads to an address that is not public.", status=400)
        request.extensions["sni_hostname"] = host_of(url)
        failed: httpx.HTTPError = httpx.ConnectError("no address")
        for address in addresses:
            request.url = url.copy_with(host=address)
            try:
                return await self._over.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        raise failed

    async def _addresses(self, url: httpx.URL) -> Sequence[str]:
        try:
            return await self._resolve(host_of(url), port_of(url))
        except OSError as error:
            raise httpx.ConnectError("no address") from error

    async def aclose(self) -> None:
        """Closes the way itself."""
        await self._over.aclose()


def host_of(url: httpx.URL) -> str:
    """The host in ASCII, without the dot of the root."""
    return url.raw_host.decode("ascii").lower().removesuffix(".")


def port_of(url: httpx.URL) -> int:
    """The port, stated or not."""
    return url.port or _PORTS[url.scheme]


def is_public(address: str) -> bool:
    """Whether the address is a single machine's on the internet, by itself and by what may stand inside it."""
    found = _inside(ip_address(address))
    assigned = isinstance(found, IPv4Address) or found in _UNICAST
    special = found.is_multicast or any(found in network for network in _SPECIAL)
    return assigned and found.is_global and not special


def _inside(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address
    return address


async def resolve(host: str, port: int) -> list[str]:
    """What this machine's resolver says.

    Raises:
        OSError: it knows no address.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]).partition("%")[0] for *_, place in found))
