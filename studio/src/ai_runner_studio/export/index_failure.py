"""Failures of pip in the user's terms, read from what it prints and from its log; no host of an index is repeated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ..errors import ExportError
from .inventory import canonical
from .target import Target

_MISSING = re.compile(r"No matching distribution found for ([^\s(]+)")
_REFUSED = re.compile(r"\b(401|403|407)\b|User for|Unauthorized|Forbidden|Credentials not correct")
_NOT_FETCHED = re.compile(r"Could not fetch URL \S+: (.*) - skipping")
# What an operating system, TLS or HTTP calls the reason; the rest of such a line names hosts.
_REASON = re.compile(
    r"\[Errno -?\d+\] ([A-Z][\w ]+)|(certificate verify failed)|(timed out)|(didn't respond within [\d.]+ seconds)"
    r"|(5\d\d Server Error)|too many (5\d\d error) responses"
)
_NEEDS_PYTHON = re.compile(r"Package '([\w.-]+)' requires a different Python: \S+ not in '([^']+)'")
_FILE = re.compile(r"(?:https?|file)://\S*/([^/\s#]+\.(?:whl|tar\.gz|zip))")
_OTHER_PYTHON = re.compile(r"different Python \(\S+ not in: '([^']+)'\): \S*/([^/\s#]+)")
_SHOWN = 3  # other builds of a version


def index_failure(said: str, log: str, target: Target) -> ExportError:
    """Return what went wrong.

    Args:
        said: pip's output. log: its log file, which also has what it does not print.
    """
    if re.search(r"No space left on device", said):
        return ExportError("the disk is full: pip could not store what it downloaded", "make room and try again")
    if "HASHES" in said:
        name = re.search(r"^\s+([\w.-]+)==\S+ from", said, re.MULTILINE)
        of = name.group(1) if name else "a package"
        return ExportError(
            f"{of}: downloaded file does not match its hash", "the index may be stale: clear pip's cache and try again"
        )
    causes = _causes(said)
    allowed = _allowed(causes)
    if causes and not allowed:
        return _conflict(causes)
    if found := _NEEDS_PYTHON.search(said):
        return _other_python(found[1], found[2], target)
    # With a constraint pip calls it a conflict, too, when an index lacks what the constraint allows.
    missing = allowed or next(iter(_MISSING.findall(said)), "")
    not_fetched = [reason for reason in _NOT_FETCHED.findall(log) if "404" not in reason]
    if _REFUSED.search(said) or any(map(_REFUSED.search, not_fetched)):
        return _refused(missing)
    if not_fetched:
        return _not_responding(not_fetched[-1])
    if missing:
        return _missing(missing, log, target)
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR:")]
    last = (errors or said.splitlines() or ["no output"])[-1]
    what = re.sub(r"(?:https?|file)://\S+", "(address)", last)
    return ExportError(f"the package index could not be asked: {what}", "try `pip download` in the project by hand")


def _refused(line: str) -> ExportError:
    asked = f", so {line} cannot be pinned" if line else ""
    return ExportError(
        f"the package index refuses access{asked}",
        "check the credentials in pip's configuration (pip config list), then try again",
    )


def _not_responding(reason: str) -> ExportError:
    found = _REASON.search(reason)
    why = f" ({next(filter(None, found.groups())).strip()})" if found else ""
    return ExportError(
        f"the package index is not responding{why}",
        "check the network, and the indexes in pip's configuration (pip config list)",
    )


def _causes(said: str) -> list[str]:
    """Return what pip says of versions that exclude each other, a line for each; none where it is not about that."""
    if "ResolutionImpossible" not in said and "conflicting dependencies" not in said:
        return []
    block = re.search(r"The conflict is caused by:\n((?:[ \t]+\S.*\n|\s*\n)+)", said)
    lines = [line.strip() for line in block.group(1).splitlines() if line.strip()] if block else []
    return lines or re.findall(r"Cannot install (.+?) because", said) or ["pip does not name them"]


def _allowed(causes: list[str]) -> str:
    """Return the pinned requirement that none of the others excludes; empty: there is none."""
    requirements = [one for cause in causes if (one := _requirement(cause.rpartition(" ")[2]))]
    for pin in requirements:
        version = str(pin.specifier).removeprefix("==")
        others = [one for one in requirements if one is not pin]
        if str(pin.specifier) != f"=={version}" or len(requirements) < len(causes):
            continue
        if others and all(one.name == pin.name and one.specifier.contains(version, True) for one in others):
            return f"{pin.name}=={version}"
    return ""


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _conflict(causes: list[str]) -> ExportError:
    if any("constraint" in cause for cause in causes):
        return ExportError(
            f"pip's configuration excludes versions of the environment: {'; '.join(causes)}",
            "change the constraints (PIP_CONSTRAINT, pip config list), or install versions that they allow",
        )
    return ExportError(f"versions exclude each other: {'; '.join(causes)}", "install versions that fit each other")


@dataclass(frozen=True, slots=True)
class _Listed:
    """Files that indexes have of one version. `other_python`: file name -> the Pythons that it is for."""

    wheels: tuple[str, ...]
    sources: tuple[str, ...]
    other_python: dict[str, str]


def _missing(line: str, log: str, target: Target) -> ExportError:
    name, _, version = line.partition("==")
    wanted = f"Python {target.python} on {target.platform}"
    listed = _listed(name, version, log)
    another = "--torch names another build" if name == "torch" else "take a version that has one"
    fitting = next((listed.other_python[wheel] for wheel in listed.wheels if wheel in listed.other_python), "")
    if fitting:
        return _other_python(f"{name} {version}", fitting, target)
    if listed.wheels:
        builds = sorted({"-".join(wheel.removesuffix(".whl").split("-")[-3:]) for wheel in listed.wheels})
        more = f" and {len(builds) - _SHOWN} more" if len(builds) > _SHOWN else ""
        return ExportError(
            f"{name} {version} has no wheel for {wanted}, only for {', '.join(builds[:_SHOWN])}{more}",
            f"{another}, build one on that platform and install that file, or choose another --platform",
        )
    if listed.sources:
        return ExportError(
            f"{name} {version} has no wheel for {wanted}, only a source distribution",
            f"build one (pip wheel {name}=={version}) and install that file, or take a version that has one",
        )
    return ExportError(
        f"the package index has no {line} for {wanted}, so it cannot be pinned",
        "a private package needs pip's configuration to name its index; another build of torch: --torch",
    )


def _other_python(package: str, pythons: str, target: Target) -> ExportError:
    return ExportError(
        f"{package} needs Python {pythons}, and the image has {target.python}",
        "take a version for that Python, or another --python-version",
    )


def _listed(name: str, version: str, log: str) -> _Listed:
    """Find the files of a version among the links that pip has looked at."""
    wheels: set[str] = set()
    sources: set[str] = set()
    for file in map(unquote, _FILE.findall(log)):
        if _is_of(file, name, version):
            (wheels if file.endswith(".whl") else sources).add(file)
    other = {unquote(file): pythons for pythons, file in _OTHER_PYTHON.findall(log)}
    return _Listed(tuple(sorted(wheels)), tuple(sorted(sources)), other)


def _is_of(file: str, name: str, version: str) -> bool:
    try:
        parsed = parse_wheel_filename(file) if file.endswith(".whl") else parse_sdist_filename(file)
        return parsed[0] == canonical(name) and bool(version) and parsed[1] == Version(version)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return False
