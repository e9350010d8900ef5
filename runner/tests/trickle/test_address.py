"""Which stream URLs may be connected to, and how they are shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runner.errors import AddressError
from runner.live.trickle.address import ALLOW_ENV, StreamAddresses, shown

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://orch.example:8935/ai/trickle/3f2a", "https://orch.example:8935/ai/trickle/3f2a"),
        ("https://orch:8935/ai/trickle/3f2a9c1e77-out", "https://orch:8935/ai/trickle/3f2a…-out"),
        ("https://orch:8935/ai/trickle/3f2a9c1e77-control/5", "https://orch:8935/ai/trickle/3f2a…-control/5"),
        ("https://orch:8935/ai/trickle/3f2a9c1e77-events/-2", "https://orch:8935/ai/trickle/3f2a…-events/-2"),
        ("https://orch:8935/ai/trickle/3f2a9c1e77/next", "https://orch:8935/ai/trickle/3f2a…/next"),
        ("http://user:pass@orch/ai/trickle/cam1?token=abc#frag", "http://orch/ai/trickle/cam1"),
        ("http://[::1]:80/cam1", "http://[::1]:80/cam1"),
        ("https://h/session/tok0123456789abcdef/trickle/cam1", "https://h/session/tok0…/trickle/cam1"),
        ("http://orch/ai\n/trickle", "http://orch/ai_/trickle"),
        ("http://orch:port/x", "(not a URL)"),
        ("http://[::1/x", "(not a URL)"),
        ("", "?://?"),
        ("topsecretkey", "?://?tops…"),
    ],
)
def test_shown_has_no_secrets(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_shown_is_never_long() -> None:
    assert len(shown("http://h/" + "a/" * 100_000)) < 2100


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8935/ai/trickle/a",
        "https://orch.example/ai/trickle/a",
        "http://192.168.7.9/a?token=x",
        "HTTPS://ORCH/a",
        "http://[fd00::1]:99/a",
        "http://münchen.example/a",
    ],
)
def test_without_a_list_every_host_is_allowed(url: str) -> None:
    StreamAddresses().check(url)
    assert not StreamAddresses().restricted


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must begin with http"),
        ("orch:8935/a", "must begin with http"),
        ("ftp://orch/a", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("unix:///run/docker.sock", "must begin with http"),
        ("//orch/a", "must begin with http"),
        ("http:///a", "names no host"),
        ("http://orch:0/a", "names no host and port"),
        ("http://orch:99999/a", "is no URL"),
        ("http://orch:x/a", "is no URL"),
        ("http://[::1/a", "is no URL"),
        ("http://user@orch/a", "user or a password"),
        ("http://user:pass@orch/a", "user or a password"),
        ("http://:pass@orch/a", "user or a password"),
        ("http://orch/a#b", "fragment"),
        ("http://orch/a b", "spaces"),
        ("http://orch/a\r\nX: y", "control characters"),
        ("http://orch\\@evil.example/a", "backslashes"),
        ("http://orch/a\x00", "control characters"),
        ("http://orch/a\u202e", "control characters"),
        ("http://orch/" + "a" * 2048, "too long"),
        ("http://2130706433/a", "no plain IP address"),
        ("http://0x7f.1/a", "no plain IP address"),
        ("http://0x7f000001/a", "no plain IP address"),
        ("http://0177.0.0.1/a", "no plain IP address"),
        ("http://127.1/a", "no plain IP address"),
        ("http://127.0.0.1./a", "no plain IP address"),
        ("http://127%2e0.0.1/a", "no plain IP address"),
        ("http://[fe80::1%25eth0]/a", "no plain IP address"),
    ],
)
def test_what_is_never_allowed(url: str, why: str) -> None:
    for addresses in (StreamAddresses(), StreamAddresses("0.0.0.0/0, ::/0, *.example")):
        with pytest.raises(AddressError, match=why) as raised:
            addresses.check(url)
        assert ":pass" not in str(raised.value)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("orch.example", "http://orch.example:1234/a"),
        ("orch.example", "http://ORCH.example./a"),
        ("Orch.Example:8935", "http://orch.example:8935/a"),
        ("orch.example:443", "https://orch.example/a"),
        ("*.example.com", "http://a.b.example.com/a"),
        ("other, 10.0.0.0/8", "http://10.1.2.3/a"),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/a"),
        ("::ffff:10.0.0.0/104", "http://10.1.2.3/a"),
        ("10.1.2.3", "http://10.1.2.3:99/a"),
        ("10.1.2.3:99", "http://10.1.2.3:99/a"),
        ("[fd00::1]:99", "http://[fd00::1]:99/a"),
        ("fd00::/8", "http://[fd12::1]/a"),
        ("münchen.example", "http://xn--mnchen-3ya.example/a"),
        ("10.0.0.0/8", "http://name.example/a"),  # decided when it is looked up
    ],
)
def test_a_list_allows(allowed: str, url: str) -> None:
    StreamAddresses(allowed).check(url)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("orch.example", "http://evil.example/a"),
        ("orch.example", "http://orch.example.evil/a"),
        ("orch.example", "http://evil-orch.example/a"),
        ("orch.example:8935", "http://orch.example:22/a"),
        ("*.example.com", "http://example.com/a"),
        ("*.example.com", "http://badexample.com/a"),
        ("*.example.com", "http://10.0.0.1/a"),
        ("10.0.0.0/8", "http://127.0.0.1/a"),
        ("10.0.0.0/8", "http://[::ffff:127.0.0.1]/a"),
        ("10.0.0.0/8", "http://[::10.1.2.3]/a"),
        ("10.0.0.0/8", "http://１２７.０.０.１/a"),
        ("10.1.2.3:99", "http://10.1.2.3:98/a"),
        ("10.1.2.3", "http://[::1]/a"),
    ],
)
def test_a_list_refuses_the_rest(allowed: str, url: str) -> None:
    with pytest.raises(AddressError, match=f"not allowed here.*{ALLOW_ENV}"):
        StreamAddresses(allowed).check(url)


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "a b", "*", "*.", "0x7f.1", "127.1", "orch:0", "orch:x", "a/b", "-x"])
def test_an_entry_that_is_none(entry: str) -> None:
    with pytest.raises(AddressError, match="no host name, address or network"):
        StreamAddresses(["orch.example", entry])


def test_the_list_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not StreamAddresses.from_env({}).restricted
    assert not StreamAddresses.from_env({ALLOW_ENV: " , "}).restricted
    monkeypatch.setenv(ALLOW_ENV, "orch.example, 10.0.0.0/8")
    addresses = StreamAddresses.from_env()
    assert addresses.allows_name("orch.example", 1)
    assert addresses.allows_address("10.9.9.9", 1)
    assert not addresses.allows_address("11.9.9.9", 1)


async def test_every_address_of_a_name_must_be_allowed() -> None:
    await StreamAddresses("127.0.0.0/8, ::1").check_resolved("http://localhost:80/a")
    await StreamAddresses("localhost").check_resolved("http://localhost:80/a")
    with pytest.raises(AddressError, match=r"localhost:80 .* not allowed"):
        await StreamAddresses("10.0.0.0/8").check_resolved("http://localhost:80/a")
    addresses = StreamAddresses("10.0.0.0/8")
    addresses.check_addresses("name", 80, ["10.0.0.1", "10.0.0.2"])
    with pytest.raises(AddressError, match=r"name:80 \(169\.254\.169\.254\)"):
        addresses.check_addresses("name", 80, ["10.0.0.1", "169.254.169.254"])


async def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(AddressError, match=r"no-such-host\.invalid of the stream cannot be found"):
        await StreamAddresses("10.0.0.0/8").check_resolved("http://no-such-host.invalid/a")


def test_it_loads_without_an_http_client() -> None:
    code = "import sys, runner.live.trickle, runner.live.trickle.address; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
