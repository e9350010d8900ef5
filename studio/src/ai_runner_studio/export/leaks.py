"""Leaks: what of the developer's machine must not be in a build context, and where it is all the same."""

from __future__ import annotations

import getpass
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from .sources import sounds_secret

SHORTEST_SECRET = 8  # characters; a shorter value stands in any text by chance
SHORTEST_PATH = 5
PUBLIC_HOSTS = ("pypi.org", "pythonhosted.org", "pytorch.org", "github.com", "localhost", "127.0.0.1", "::1")
# Where every machine has files: to name them tells nothing of this one.
_PLACES_OF_ALL = ("/usr", "/etc", "/opt/venv", "/opt/app", "/bin", "/lib", "/models", "/ctx")
_USERS_OF_ALL = ("root", "runner", "user", "admin", "ubuntu", "debian", "docker", "python", "nobody", "build", "test")

_SECRET_NAME = re.compile(r"token|secret|passw|credential|api_?key|access_?key|private_?key|_key$|auth", re.IGNORECASE)
_SHAPES = {
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*(?:\\n)?[A-Za-z0-9+/=]{16}",
    "an access key of AWS": rb"\bAKIA[0-9A-Z]{16}\b",
    "a token of GitHub": rb"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{40}",
    "a token of GitLab": rb"\bglpat-[A-Za-z0-9_-]{20}",
    "a token of Hugging Face": rb"\bhf_[A-Za-z0-9]{30}",
    "a token of OpenAI's form": rb"\bsk-[A-Za-z0-9_-]{32}",
    "a token of Slack": rb"\bxox[abprs]-[A-Za-z0-9-]{20}",
}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s\"',;\[\]]+")


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that must not go out. `place`: file in the context, with the file inside a wheel. `what`: in words."""

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class LeakScan:
    """What is looked for. `needles`: what it is in words -> pattern. `allowed`: texts that are meant to be there."""

    needles: tuple[tuple[str, re.Pattern[bytes]], ...]
    allowed: tuple[bytes, ...] = ()

    def scan(self, folder: Path) -> list[Leak]:
        """Every leak in a context: each file, own wheels' files too, by name and content.

        Third-party wheels and the installer are what their hashes say, and not looked into.
        """
        leaks = []
        for place, name, data in _contents(folder):
            if sounds_secret(name):
                leaks.append(Leak(place, "a file that usually holds secrets"))
            leaks += [Leak(place, what) for what, pattern in self.needles if self._found(pattern, data)]
        return leaks

    def _found(self, pattern: re.Pattern[bytes], data: bytes) -> bool:
        return any(not self._is_allowed(data, *match.span()) for match in pattern.finditer(data))

    def _is_allowed(self, data: bytes, start: int, end: int) -> bool:
        """Return whether an allowed text overlaps this place: one that only stands near it hides nothing."""
        return any(text in data[max(0, start - len(text) + 1) : end + len(text) - 1] for text in self.allowed)


def _contents(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """(place, file name, content) of what is looked into."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or inside.parts[0] in ("wheels", "tools"):
            continue
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                for name in wheel.namelist():
                    yield f"{inside.as_posix()}: {name}", name.rpartition("/")[2], wheel.read(name)
        else:
            yield inside.as_posix(), path.name, path.read_bytes()


def leak_scan(
    folders: Iterable[Path], configuration: str, environ: Mapping[str, str], allowed: tuple[str, ...] = ()
) -> LeakScan:
    """What this machine could leak.

    Args:
        folders: of the developer: project, environment, home.
        configuration: texts of pip's and uv's configuration and the project's lock, whose hosts are private unless
            they are known to all.
        environ: the environment, for values of what is named like a secret.
    """
    needles = [(f"the developer's folder {folder}", _path_pattern(str(folder))) for folder in _telling(folders)]
    user = _user()
    if len(user) > 3 and user not in _USERS_OF_ALL:
        needles.append(("the developer's user name", re.compile(rb"(?:/home|/Users|\\Users)[/\\]" + _escaped(user))))
    for name, value in sorted(environ.items()):
        if _SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET and not value.startswith("/"):
            needles.append((f"the value of the environment variable {name}", re.compile(_escaped(value))))
    for url in _urls(configuration, *environ.values()):
        for password in sorted({url.password or "", unquote(url.password or "")}):
            if len(password) >= SHORTEST_SECRET:
                what = "a password of a URL in the environment or pip's configuration"
                needles.append((what, re.compile(_escaped(password))))
    for host in sorted({url.hostname for url in _urls(configuration) if url.hostname}):
        if not any(host == known or host.endswith(f".{known}") for known in PUBLIC_HOSTS):
            needles.append(
                ("the host of a package index", re.compile(rb"(?<![\w.-])" + _escaped(host) + rb"(?![\w-])"))
            )
    needles += [(what, re.compile(shape)) for what, shape in _SHAPES.items()]
    return LeakScan(tuple(needles), tuple(text.encode() for text in allowed if text))


def _telling(folders: Iterable[Path]) -> list[Path]:
    """Those folders that tell of this machine, each once."""
    every = {path for folder in folders for path in (folder, folder.resolve())}
    telling = [path for path in every if len(str(path)) >= SHORTEST_PATH]
    return sorted(path for path in telling if not any(path.is_relative_to(place) for place in _PLACES_OF_ALL))


def _path_pattern(path: str) -> re.Pattern[bytes]:
    """The path as a whole: not a part of a longer name."""
    return re.compile(rb"(?<![\w.-])" + _escaped(path.rstrip("/")) + rb"(?![\w-])")


def _escaped(text: str) -> bytes:
    return re.escape(text.encode())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return ""


def _urls(*texts: str) -> list[SplitResult]:
    found = []
    for text in texts:
        for url in _URL.findall(text):
            try:
                found.append(urlsplit(url))
            except ValueError:  # no URL after all
                continue
    return found
