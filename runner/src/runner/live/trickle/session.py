"""trickle_session: the HTTP client session of all trickle requests, and what both clients need of the protocol."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver

from ...errors import AddressError
from .address import VERIFY_TLS_ENV, StreamAddresses, shown

if TYPE_CHECKING:
    from types import SimpleNamespace

    from aiohttp.abc import ResolveResult
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

CONNECT_LIMIT_S = 10.0

# Headers and the one status of its own (contract 1.3, 1.4).
SEQ_HEADER = "Lp-Trickle-Seq"
LATEST_HEADER = "Lp-Trickle-Latest"
CLOSED_HEADER = "Lp-Trickle-Closed"
RESET_HEADER = "Lp-Trickle-Reset"
SEGMENT_MISSING = 470
REQUEST_HEADERS = {"Connection": "close"}  # one connection a segment, as the network's Python clients do

# A peer that has gone without a word is noticed after about 25 s: 10 + 3 * 5.
_SOCKET_OPTIONS = {"TCP_KEEPIDLE": 10, "TCP_KEEPALIVE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_UNACKNOWLEDGED_LIMIT_MS = 25_000  # the same for a peer that we send to


def trickle_session(
    addresses: StreamAddresses | None = None,
    *,
    verify_tls: bool | None = None,
    connect_limit_s: float = CONNECT_LIMIT_S,
) -> aiohttp.ClientSession:
    """A session for trickle requests; made inside a running event loop.

    It has no limit for a whole request (a segment lasts as long as its media does), follows no redirect, knows
    no proxy and no cookies, unpacks nothing, and lets connections die that nobody answers on.

    Args:
        addresses: what may be connected to; by default what `TRICKLE_ALLOW` says.
        verify_tls: refuse certificates that nobody known has signed. By default only if `TRICKLE_VERIFY_TLS` is
            1: orchestrators use certificates of their own (contract 1.6).
        connect_limit_s: for looking up the name, the connection and its TLS handshake.

    Raises:
        AddressError: `TRICKLE_ALLOW` is no list of addresses. Every request raises it for a URL that is not allowed.
    """
    if addresses is None:
        addresses = StreamAddresses.from_env()
    if verify_tls is None:
        verify_tls = os.environ.get(VERIFY_TLS_ENV) == "1"
    redirects = aiohttp.TraceConfig()
    redirects.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=_Connector(addresses, verify_tls=verify_tls),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_limit_s, sock_connect=connect_limit_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept-Encoding",),
        trace_configs=[redirects],
        trust_env=False,
    )


def segment_url(channel: str, part: int | str) -> str:
    """The URL of a segment of `channel`, or of its ``next``; a query stays where it was."""
    path, mark, query = channel.partition("?")
    return f"{path.rstrip('/')}/{part}{mark}{query}"


def header_int(response: aiohttp.ClientResponse, name: str) -> int | None:
    """A number in a header; None if there is none, or it is no number."""
    text = response.headers.get(name, "").strip()
    return int(text) if text.isascii() and text.lstrip("-").isdigit() and len(text) < 19 else None


def cause(error: BaseException) -> str:
    """Why a request failed, in few words and without its URL."""
    if isinstance(error, asyncio.TimeoutError):
        return "no connection, or no answer, in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is signed by nobody who is known here; without {VERIFY_TLS_ENV} it would be taken"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS connection came about: is it http?"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:  # looking up a name has numbers of its own
        return error.strerror
    if isinstance(error, (ConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
        return "the connection broke off"
    return type(error).__name__


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    raise AddressError(f"{shown(str(params.url))} redirects elsewhere, which is not followed; name the final URL")


class _Connector(aiohttp.TCPConnector):
    """Connects to allowed addresses only, and notices peers that have gone without a word."""

    def __init__(self, addresses: StreamAddresses, *, verify_tls: bool) -> None:
        super().__init__(resolver=_Resolver(addresses), ssl=verify_tls, force_close=True, limit=0)
        self._addresses = addresses

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        # Addresses that stand in the URL itself never come to the resolver.
        self._addresses.check(str(req.url.with_fragment(None)))
        connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        if transport is not None:
            _watch_peer(transport.get_extra_info("socket"))
        return connection


class _Resolver(AbstractResolver):
    """Looks names up, and gives out addresses only if they are all allowed."""

    def __init__(self, addresses: StreamAddresses) -> None:
        self._addresses = addresses
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        self._addresses.check_addresses(host, port, [result["host"] for result in found])
        return found

    async def close(self) -> None:
        await self._inner.close()


def _watch_peer(connection: Any) -> None:
    if connection is None:
        return
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in _SOCKET_OPTIONS.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_LIMIT_MS)
    except OSError:
        pass  # the connection has just broken off; whoever uses it is told that
