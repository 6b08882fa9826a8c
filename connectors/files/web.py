"""The client of HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp

_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 30  # without a byte
_TOTAL_TIMEOUT_S = 300  # of one request for a block


async def open_session(**client_kwargs: Any) -> aiohttp.ClientSession:
    """A session as fsspec asks for one."""
    timeout = aiohttp.ClientTimeout(
        total=_TOTAL_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S, sock_read=_READ_TIMEOUT_S
    )
    return aiohttp.ClientSession(**{"timeout": timeout, **client_kwargs})
