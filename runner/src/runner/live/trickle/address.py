"""StreamAddresses: which stream URLs this runner connects to; `shown`: a URL as it may be logged.

Whoever may start a stream names up to four URLs, and the runner then connects to them from inside its
network. By default every http and https URL is taken: an orchestrator is usually the neighbour on a private
network, so that refusing private addresses would refuse the normal case. Where starts of streams come from
elsewhere, `TRICKLE_ALLOW` narrows it to the orchestrator's name or network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...errors import AddressError
from ...time_limit import time_limit

if TYPE_CHECKING:
    import yarl

    _Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    _Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ALLOW_ENV = "TRICKLE_ALLOW"
VERIFY_TLS_ENV = "TRICKLE_VERIFY_TLS"
MAX_URL_CHARACTERS = 2048
_RESOLVE_LIMIT_S = 5.0

_SUFFIXES = ("-out", "-control", "-events")  # of the channels of one session
_KEPT_CHARACTERS = 4  # of a masked name: enough to tell two sessions apart in a log
_SHORT_CHARACTERS = 8  # names up to here are not secrets
_LONG_CHARACTERS = 16  # parts of the path before the channel look secret from here on, with a digit in them
_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def shown(url: str) -> str:
    """`url` for logs and errors: without credentials and query, the channel's name with its middle masked.

    ``https://user:pass@orch:8935/ai/trickle/3f2a9c1e77-out/5?t=1`` gives
    ``https://orch:8935/ai/trickle/3f2a…-out/5``. Never raises, whatever `url` is.
    """
    printable = "".join(character if character.isprintable() else "_" for character in str(url)[:MAX_URL_CHARACTERS])
    try:
        parts = urlsplit(printable)
        host, port = parts.hostname or "?", parts.port
    except ValueError:
        return "(not a URL)"
    if ":" in host:
        host = f"[{host}]"
    path = parts.path.split("/")
    channel = _channel_place(path)
    masked = [_masked(part, secret=place == channel or _looks_secret(part)) for place, part in enumerate(path)]
    return f"{parts.scheme or '?'}://{host}{f':{port}' if port else ''}{'/'.join(masked)}"


def _channel_place(path: list[str]) -> int:
    """Which part of the path is the channel: the last one that is no sequence number."""
    place = len(path) - 1
    while place > 0 and (path[place] in ("", "next") or path[place].lstrip("-").isdigit()) and path[place - 1]:
        place -= 1
    return place


def _looks_secret(part: str) -> bool:
    return len(part) >= _LONG_CHARACTERS and any(character.isdigit() for character in part)


def _masked(part: str, *, secret: bool) -> str:
    suffix = next((suffix for suffix in _SUFFIXES if part.endswith(suffix)), "")
    core = part.removesuffix(suffix)
    if not secret or len(core) <= _SHORT_CHARACTERS:
        return part
    return f"{core[:_KEPT_CHARACTERS]}…{suffix}"


@dataclass(frozen=True, slots=True)
class _AllowedName:
    """A host name of the list; with `below`, every name below it and not itself. Port None: any."""

    name: str
    below: bool
    port: int | None

    def allows(self, host: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        return host.endswith(f".{self.name}") if self.below else host == self.name


@dataclass(frozen=True, slots=True)
class _AllowedNetwork:
    """A network of the list, or one address. Port None: any."""

    network: _Network
    port: int | None

    def allows(self, address: _Address, port: int) -> bool:
        return self.port in (None, port) and address.version == self.network.version and address in self.network


class StreamAddresses:
    """The rule which stream URLs may be connected to.

    Always: http or https, a host, no credentials, no fragment, at most 2,048 characters, none of them a space
    or a control character, and IP addresses in their plain form only.

    With a list, the host must also be in it by name, or every address that it resolves to must lie in one of
    its networks. That is checked for URLs by `check`, and for the addresses that are really connected to by
    the session of `session.trickle_session`, so a name that resolves differently the next time is of no use.
    """

    def __init__(self, allowed: str | Iterable[str] = ()) -> None:
        """The list, as strings or as one with commas; empty: every http and https host.

        Entries are host names (``orch.example``, ``*.example.com`` for all below it), addresses, networks
        (``10.0.0.0/8``, ``fd00::/8``), and names or addresses with a port (``orch.example:8935``, ``[::1]:8935``).

        Raises:
            AddressError: an entry is none of these.
        """
        self._names: list[_AllowedName] = []
        self._networks: list[_AllowedNetwork] = []
        for entry in allowed.split(",") if isinstance(allowed, str) else allowed:
            if entry.strip():
                self._allow(entry.strip())

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> StreamAddresses:
        """What `TRICKLE_ALLOW` says, names, addresses and networks with commas between them.

        Raises:
            AddressError: an entry is none of these.
        """
        return cls((os.environ if environ is None else environ).get(ALLOW_ENV, ""))

    @property
    def restricted(self) -> bool:
        """Whether there is a list."""
        return bool(self._names or self._networks)

    def check(self, url: str) -> None:
        """Take a URL, or say why not. Looks no name up: it does not wait.

        A host that only a network could allow passes here; `check_resolved` and the connection decide.

        Raises:
            AddressError: it may not be connected to.
        """
        parsed = _parsed(url)
        host, port = _host(parsed), parsed.port or 0
        address = _address(host)
        if not self.restricted or self.allows_name(host, port):
            return
        if address is not None:
            if not self.allows_address(str(address), port):
                raise self._refused(host, port)
        elif not self._networks:
            raise self._refused(host, port)

    async def check_resolved(self, url: str) -> None:
        """As `check`, and the addresses behind the name are looked at too.

        Raises:
            AddressError: it may not be connected to, or its name is not known.
        """
        self.check(url)
        parsed = _parsed(url)
        host, port = _host(parsed), parsed.port or 0
        if not self.restricted or self.allows_name(host, port):
            return
        looking = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        try:
            async with time_limit(_RESOLVE_LIMIT_S):
                found = await looking
        except (OSError, asyncio.TimeoutError) as error:
            raise AddressError(f"the host {host} of the stream cannot be found; check its name") from error
        self.check_addresses(host, port, [str(address[0]) for *_, address in found])

    def allows_name(self, host: str, port: int) -> bool:
        """Whether the list has this host by its name."""
        name = host.lower().rstrip(".")
        return any(allowed.allows(name, port) for allowed in self._names)

    def allows_address(self, address: str, port: int) -> bool:
        """Whether an IP address may be connected to; without a list every one."""
        plain = _address(address)
        return not self.restricted or (
            plain is not None and any(allowed.allows(plain, port) for allowed in self._networks)
        )

    def check_addresses(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Take what a host resolves to.

        Raises:
            AddressError: the list has neither the name nor every one of the addresses.
        """
        if self.allows_name(host, port):
            return
        for address in addresses:
            if not self.allows_address(address, port):
                raise self._refused(host, port, f" ({address})")

    def _refused(self, host: str, port: int, resolved: str = "") -> AddressError:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return AddressError(
            f"streams to and from {where}{resolved} are not allowed here; add its name, address or network to"
            f" {ALLOW_ENV}"
        )

    def _allow(self, entry: str) -> None:
        try:
            if "/" in entry:
                self._networks.append(_AllowedNetwork(_plain_network(entry), None))
                return
            host, port = _host_and_port(entry)
            try:
                network = _plain_network(host)
            except ValueError:
                self._names.append(_allowed_name(host, port))
            else:
                self._networks.append(_AllowedNetwork(network, port))
        except ValueError as error:
            raise AddressError(
                f"{ALLOW_ENV}: '{entry}' is no host name, address or network"
                " (such as orch.example, *.example.com, 10.0.0.0/8, orch.example:8935)"
            ) from error


def _parsed(url: str) -> yarl.URL:
    """A stream URL as the HTTP client understands it: another parser might see another host in it.

    Raises:
        AddressError: it is none.
    """
    import yarl

    if len(url) > MAX_URL_CHARACTERS:
        raise AddressError(f"a stream URL of {len(url)} characters is too long; {MAX_URL_CHARACTERS} are allowed")
    if not url.isprintable() or any(character in url for character in " \\"):
        raise AddressError(f"the stream URL {shown(url)} has spaces, backslashes or control characters in it")
    try:
        parsed = yarl.URL(url)
        port = parsed.port
    except ValueError as error:
        raise AddressError(f"{shown(url)} is no URL; one looks like https://host:8935/ai/trickle/name") from error
    if parsed.scheme not in ("http", "https"):
        raise AddressError(f"the stream URL {shown(url)} must begin with http:// or https://")
    if parsed.user is not None or parsed.password is not None or "@" in parsed.raw_authority:
        raise AddressError(f"the stream URL {shown(url)} has a user or a password in it; leave them out")
    if not parsed.raw_host or port == 0:
        raise AddressError(f"the stream URL {shown(url)} names no host and port")
    if "#" in url:
        raise AddressError(f"the stream URL {shown(url)} has a fragment (#...); leave it out")
    return parsed


def _host(url: yarl.URL) -> str:
    """The host that is connected to: a name in ASCII, or a plain address.

    Raises:
        AddressError: an address in another form, which the system would still connect to: 0x7f.1, 2130706433.
    """
    host = (url.raw_host or "").lower()
    odd = "%" in host
    if _address(host) is None:
        odd = odd or _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None
    if odd:
        raise AddressError(f"'{host}' is no plain IP address; write it as 192.0.2.7 or [2001:db8::7]")
    return host


def _address(text: str) -> _Address | None:
    """An IP address; an IPv4 address that is written as an IPv6 one is the IPv4 address that it reaches."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _plain_network(text: str) -> _Network:
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        inner = ipaddress.IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return ipaddress.IPv4Network((inner, network.prefixlen - _MAPPED.prefixlen))
    return network


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """Split ``host:port``, ``[address]:port``, ``host`` or ``address``.

    Raises:
        ValueError: the port is none.
    """
    host, colon, port = entry.rpartition(":")
    if entry.startswith("[") and entry.endswith("]"):
        return entry[1:-1], None
    if not colon or (":" in host and not host.startswith("[")):
        return entry, None
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"'{port}' is no port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _allowed_name(name: str, port: int | None) -> _AllowedName:
    """An entry of the list.

    Raises:
        ValueError: it is no host name.
    """
    import yarl

    below = name.startswith("*.")
    plain = (yarl.URL.build(scheme="http", host=name.removeprefix("*.")).raw_host or "").lower().rstrip(".")
    if not _NAME.fullmatch(plain) or _NUMERIC_LABEL.fullmatch(plain.rpartition(".")[2]):
        raise ValueError(f"'{name}' is no host name")
    return _AllowedName(plain, below, port)
