"""The session of all trickle requests: what it connects to, and what it does not do."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from runner.errors import AddressError
from runner.live.trickle import TricklePublisher, TrickleSubscriber
from runner.live.trickle.address import StreamAddresses
from runner.live.trickle.relay import TrickleRelay
from runner.live.trickle.session import segment_url, trickle_session
from runner.live.trickle.subscriber import EndReason

from .wire import Exchange, ScriptedServer

pytestmark = pytest.mark.quick


def test_urls_of_segments() -> None:
    assert segment_url("http://h/a/b", 5) == "http://h/a/b/5"
    assert segment_url("http://h/a/b/", "next") == "http://h/a/b/next"
    assert segment_url("http://h/b?t=1/2", -2) == "http://h/b/-2?t=1/2"


class TestAddresses:
    async def test_an_address_in_the_url_is_checked_when_it_is_connected_to(self, relay: TrickleRelay) -> None:
        async with trickle_session(StreamAddresses("10.0.0.0/8")) as session:
            with pytest.raises(AddressError, match=r"127\.0\.0\.1"):
                await session.get(relay.url + "chan/next")
        async with trickle_session(StreamAddresses("127.0.0.1")) as session, session.get(relay.url + "chan/next") as ok:
            assert ok.status == 200

    async def test_a_name_is_checked_by_what_it_is_found_to_be(
        self, relay: TrickleRelay, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name that pointed elsewhere when it was checked: the answer of the connection's own look-up counts."""
        port = int(relay.url.split(":")[2].split("/")[0])
        url = f"http://rebound.example:{port}/ai/trickle/chan/next"
        addresses = StreamAddresses("10.0.0.0/8")
        found = {"address": "10.0.0.1"}

        async def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
            address = (found["address"], port)
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        await addresses.check_resolved(url)
        found["address"] = "127.0.0.1"
        async with trickle_session(addresses) as session:
            with pytest.raises(AddressError, match=r"rebound\.example:\d+ \(127\.0\.0\.1\) are not allowed"):
                await session.get(url)
        async with trickle_session(StreamAddresses("127.0.0.0/8")) as session, session.get(url) as answer:
            assert answer.status == 200

    async def test_clients_end_at_an_address_that_is_not_allowed(self, relay: TrickleRelay) -> None:
        addresses = StreamAddresses("10.0.0.0/8")
        async with TrickleSubscriber(relay.url + "chan", addresses=addresses) as subscriber:
            assert await subscriber.next() is None
            assert subscriber.end_reason is EndReason.REFUSED
            assert isinstance(subscriber.error, AddressError)
        async with TricklePublisher(relay.url + "chan", "video/mp2t", addresses=addresses) as publisher:
            segment = await publisher.next()
            with pytest.raises(AddressError):
                await segment.done()
            with pytest.raises(AddressError):
                await publisher.next()
        assert relay.channels()[0].segments == 0

    async def test_the_environment_is_the_default(self, relay: TrickleRelay, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRICKLE_ALLOW", "10.0.0.0/8")
        async with trickle_session() as session:
            with pytest.raises(AddressError):
                await session.get(relay.url + "chan/next")

    async def test_no_redirect_is_followed(self) -> None:
        async def script(request: Exchange) -> None:
            request.answer(302, Location="http://127.0.0.1:1/elsewhere")

        async with ScriptedServer(script) as server, trickle_session() as session:
            with pytest.raises(AddressError, match="redirects elsewhere"):
                await session.delete(server.url)
            assert server.asked == ["DELETE chan"]


async def test_proxies_and_packed_bodies_are_not_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def script(request: Exchange) -> None:
        request.answer(200, b"\x1f\x8bnot unpacked", Content_Encoding="gzip", Set_Cookie="a=b")

    async with ScriptedServer(script) as server, trickle_session() as session:
        for _ in range(2):
            async with session.get(server.url) as answer:
                assert await answer.read() == b"\x1f\x8bnot unpacked"
        assert not {"cookie", "accept-encoding"} & set(server.headers[1])


async def test_connections_notice_a_peer_that_has_gone(relay: TrickleRelay) -> None:
    async with trickle_session() as session, session.get(relay.url + "chan/next"):
        pass
    seen: list[int] = []
    hold = asyncio.Event()

    async def script(request: Exchange) -> None:
        request.begin(200)
        await hold.wait()

    async with ScriptedServer(script) as server, trickle_session() as session, session.get(server.url) as answer:
        assert answer.connection is not None
        connection = answer.connection.transport.get_extra_info("socket")  # type: ignore[union-attr]
        seen.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        if hasattr(socket, "TCP_KEEPIDLE"):
            seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10)
        hold.set()
    assert all(seen)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that its owner has signed himself, with its key, as orchestrators have them."""
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=orch",
    ]
    try:
        made = subprocess.run([*command, "-keyout", "-", "-out", "-"], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("no openssl command to make a certificate with")
    path.write_bytes(made.stdout)
    return path


async def test_own_certificates_are_taken_unless_told_otherwise(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(headers={"Lp-Trickle-Latest": "0"}, text="0")

    app = web.Application()
    app.router.add_get("/chan/next", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/chan/next"
    monkeypatch.delenv("TRICKLE_VERIFY_TLS", raising=False)
    async with trickle_session() as session, session.get(url) as taken:
        assert taken.status == 200
    monkeypatch.setenv("TRICKLE_VERIFY_TLS", "1")
    async with trickle_session() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(url)
    async with trickle_session(verify_tls=False) as session, session.get(url) as taken:
        assert taken.status == 200
    await runner.cleanup()
