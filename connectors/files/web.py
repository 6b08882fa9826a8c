"""The client of HTTP: it waits only so long, and goes only where the URLs or anybody's network lead."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import DefaultResolver
from yarl import URL

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable

    from aiohttp.abc import ResolveResult

_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 30  # without a byte
_TOTAL_TIMEOUT_S = 300  # of one request for a block


class InnerAddressError(aiohttp.ClientError):
    """A redirect leads into a network that is not public."""


def session_for(
    hosts: Iterable[str], *, is_endless: bool = False
) -> Callable[..., Coroutine[Any, Any, aiohttp.ClientSession]]:
    """What fsspec asks for a session.

    Whoever answers a URL does not decide what is read inside the network: a redirect to a host that is not
    one of `hosts` is followed only to public addresses (no metadata service, no neighbour, not this machine),
    whatever names they have by then, and never from https to http.

    Parameters
    ----------
    hosts
        Those that the user named, wherever they are.
    is_endless
        Whether a request may take as long as bytes come: for a whole file rather than a block.
    """
    named = frozenset(hosts)
    total_s = None if is_endless else _TOTAL_TIMEOUT_S

    async def open_session(**client_kwargs: Any) -> aiohttp.ClientSession:
        options = {
            "timeout": aiohttp.ClientTimeout(
                total=total_s, sock_connect=_CONNECT_TIMEOUT_S, sock_read=_READ_TIMEOUT_S
            ),
            "trace_configs": [_redirects(named)],
            **client_kwargs,
        }
        if "connector" not in options:
            options["connector"] = aiohttp.TCPConnector(resolver=_PublicResolver(named))
        return aiohttp.ClientSession(**options)

    return open_session


def _redirects(named: frozenset[str]) -> aiohttp.TraceConfig:
    """Looks at each redirect before it is followed: addresses without a name never meet the resolver."""

    async def check(_session: Any, _context: Any, redirect: aiohttp.TraceRequestRedirectParams) -> None:
        location = redirect.response.headers.get("Location") or redirect.response.headers.get("URI") or ""
        target = redirect.url.join(URL(location))
        if redirect.url.scheme == "https" and target.scheme == "http":
            raise InnerAddressError("a redirect leads from https to http")
        host = target.host or ""
        if host not in named and not _is_public(host):
            raise InnerAddressError(f"a redirect leads to {host}, which is not a public address")

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(check)
    return config


class _PublicResolver(AbstractResolver):
    """Gives public addresses only, except of hosts that were named."""

    def __init__(self, named: frozenset[str]) -> None:
        self._named = named
        self._resolver = DefaultResolver()

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = 0,  # type: ignore[assignment]
    ) -> list[ResolveResult]:
        """See `AbstractResolver`."""
        found = await self._resolver.resolve(host, port, family)
        if host not in self._named and not all(_is_public(address["host"]) for address in found):
            raise InnerAddressError(f"a redirect leads to {host}, which is not a public address")
        return found

    async def close(self) -> None:
        """See `AbstractResolver`."""
        await self._resolver.close()


def _is_public(host: str) -> bool:
    """Whether an address is one of the public network; names are looked at when they are resolved."""
    try:
        address = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        return host != "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_global)
