"""The picture of an IP-Adapter, from a URL, a data URI or base64.

Params come from strangers, so what is fetched is limited: URLs are http or https, to public addresses alone, unless
``STYLE_IMAGE_HOSTS`` names the host (several with commas between); at most `MAX_BYTES`, `MAX_REDIRECTS` redirects,
`TIMEOUT_S` in all.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import ipaddress
import os
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from runner.time_limit import time_limit

if TYPE_CHECKING:
    from PIL.Image import Image

TIMEOUT_S = 10.0
MAX_BYTES = 16_000_000
MAX_PIXELS = 50_000_000
MAX_REDIRECTS = 3
_DATA_URI = re.compile(r"data:image/[a-zA-Z0-9.+-]+;base64,", re.ASCII)
_REDIRECTS = (301, 302, 303, 307, 308)


async def load_image(source: str) -> Image:
    """The picture, RGB.

    Raises:
        ValueError: it is not to be had, too large, or no picture; the text says why.
    """
    if source.startswith(("http://", "https://")):
        data = await _fetch(source)
    else:
        data = _decode(source)
    return await asyncio.to_thread(_open, data)


def _decode(source: str) -> bytes:
    prefix = _DATA_URI.match(source)
    if prefix is None and source.startswith("data:"):
        raise ValueError("ip_adapter_style_image_url: a data URI must begin with data:image/<type>;base64,")
    text = source[prefix.end() :] if prefix else source
    if len(text) > MAX_BYTES * 4 // 3:
        raise ValueError(f"ip_adapter_style_image_url: more than {MAX_BYTES} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"ip_adapter_style_image_url is no http(s) URL, data URI or base64: {error}") from error


def _open(data: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"ip_adapter_style_image_url: more than {MAX_PIXELS} pixels")
        return image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"ip_adapter_style_image_url is no picture: {error}") from error


async def _fetch(url: str) -> bytes:
    import aiohttp

    try:
        async with time_limit(TIMEOUT_S):
            return await _follow(url)
    except asyncio.TimeoutError:
        raise ValueError(f"ip_adapter_style_image_url did not answer within {TIMEOUT_S:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ValueError(f"ip_adapter_style_image_url could not be fetched: {error}") from error


async def _follow(url: str) -> bytes:
    """The body at a URL, or where it redirects to; each address is checked before it is connected to."""
    import aiohttp

    connector = aiohttp.TCPConnector(resolver=_public_resolver())
    # Some servers refuse clients that do not say who they are.
    headers = {"User-Agent": "ai-runner-streamdiffusion"}
    async with aiohttp.ClientSession(connector=connector, headers=headers, trust_env=False) as session:
        for _ in range(MAX_REDIRECTS + 1):
            _check_literal(url)
            async with session.get(url, allow_redirects=False) as answer:
                if answer.status in _REDIRECTS and "Location" in answer.headers:
                    url = urljoin(url, answer.headers["Location"])
                    continue
                answer.raise_for_status()
                return await _body(answer)
    raise ValueError(f"ip_adapter_style_image_url: more than {MAX_REDIRECTS} redirects")


async def _body(answer: Any) -> bytes:
    data = bytearray()
    async for piece in answer.content.iter_chunked(65_536):
        data += piece
        if len(data) > MAX_BYTES:
            raise ValueError(f"ip_adapter_style_image_url: more than {MAX_BYTES} bytes")
    return bytes(data)


def _allowed_hosts() -> set[str]:
    return {host.strip().lower() for host in os.environ.get("STYLE_IMAGE_HOSTS", "").split(",") if host.strip()}


def _check_address(host: str, address: str) -> None:
    if host.lower() not in _allowed_hosts() and not ipaddress.ip_address(address.split("%")[0]).is_global:
        raise ValueError(
            f"ip_adapter_style_image_url: {host} is at {address}, which is no public address; if it is meant, set "
            f"STYLE_IMAGE_HOSTS={host}"
        )


def _check_literal(url: str) -> None:
    """Refuse URLs of other kinds, and hosts that are addresses themselves, which no resolver ever sees."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"ip_adapter_style_image_url redirects to what is no http(s) URL: {parts.scheme}:")
    try:
        ipaddress.ip_address(parts.hostname)
    except ValueError:
        return
    _check_address(parts.hostname, parts.hostname)


def _public_resolver() -> Any:
    """A resolver that refuses addresses after they were looked up: the ones that are connected to."""
    import aiohttp

    class PublicResolver(aiohttp.ThreadedResolver):
        async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[Any]:
            results = await super().resolve(host, port, family)
            for result in results:
                _check_address(host, result["host"])
            return list(results)

    return PublicResolver()
