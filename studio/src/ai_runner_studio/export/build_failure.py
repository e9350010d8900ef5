"""What a builder's last lines mean: which step failed, because of what, and what can be done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError
from .build_progress import BuildProgress

_NOISE = re.compile(
    r"^(subprocess exited|exit status|Error: (building|error building|process) |error building at STEP)"
)


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause that is known: what is looked for, in words, and the way out. Groups of the pattern fill both texts."""

    pattern: re.Pattern[str]
    what: str
    way_out: str


def _cause(pattern: str, what: str, way_out: str) -> Cause:
    return Cause(re.compile(pattern, re.IGNORECASE), what, way_out)


# The first one found wins, so what is more exact comes first.
_CAUSES = (
    _cause(
        r"no space left on device|disk quota exceeded",
        "the disk of the image store is full",
        "free some room ('podman system prune', 'docker builder prune'), or name another folder by --image-store",
    ),
    _cause(
        r"(?:hash mismatch|do(?:es)? not match the hash|hashes? (?:are|is) required)[^`']*[`']?([\w.\[\]-]+==[\w.+]+)?",
        "what was downloaded is not what the plan has pinned: hash mismatch {0}",
        "somebody has replaced the file in the index, or a proxy changes it; look at that index, then plan again",
    ),
    _cause(
        r"because ([\w.\[\]-]+==[\w.+!-]+) has no (?:wheels|usable wheels|source distribution)",
        "{0} has no wheel for the image's Python and platform",
        "pin a version that has one, or make the wheel yourself and name its folder to pip (find-links) while planning",
    ),
    _cause(
        r"because (?:there is no version of )?([\w.\[\]=+!-]+)"
        r" (?:was not found in the (?:provided package locations|package registry|cache)|and you require)",
        "{0} is in none of the places that the step installs from",
        "with --offline the wheelhouse must hold it: write the context again; else check the image's package index",
    ),
    _cause(
        r"no solution found",
        "a dependency cannot be installed as it is pinned",
        "the lines before say which one; plan again where the project's environment has changed",
    ),
    _cause(
        r"the package `?([\w.-]+)`? requires `?([\w.<>=!~,+ -]+)`?,? but",
        "{0} needs {1}, which the image does not have",
        "plan again: a dependency is missing in the project's environment or lock",
    ),
    _cause(
        r"(?:temporary failure (?:in name )?resol|could not resolve|dns error|failed to lookup address|network is "
        r"unreachable|name or service not known|no such host|connection refused|error sending request)",
        "a step has no network, or a registry or index cannot be reached",
        "check the network and proxy of the builder, or write everything into the context by --offline",
    ),
    _cause(
        r"(?:image not known|no such image|does not resolve to an image|not found locally|pull access denied|manifest "
        r"unknown|unable to find a name|repository does not exist|(?:failed to resolve|creating build container)[^:]*:)"
        r".*?([\w./:@-]+/[\w./:@-]+)?",
        "the base image is not there {0}",
        "pull or build it first, name another one by --base, or log in to its registry",
    ),
    _cause(
        r"exec format error",
        "the builder cannot run programs of that platform",
        "install qemu-user-static with binfmt support, or build on a machine of that platform",
    ),
    _cause(
        r"(setrlimit|rlimit|cgroups? in hybrid mode|oci runtime|runc|crun)",
        "this machine does not let the builder start a container for a step",
        "--builder-arg=--isolation=chroot runs steps without one (podman, buildah)",
    ),
    _cause(
        r"e: unable to locate package (\S+)",
        "the base image's Debian has no package {0}",
        "check 'apt' in [tool.ai-runner-studio.image]",
    ),
    _cause(
        r"(?:permission denied|operation not permitted)",
        "the builder was not permitted to do what it had to",
        "run it as a user who may build images (for docker: group 'docker'; for podman: entries in /etc/subuid)",
    ),
)
_PUSH_CAUSES = (
    _cause(
        r"(?:unauthorized|authentication required|denied|no basic auth|forbidden|status[^0-9]{0,20}40[13]\b)",
        "the registry refuses it",
        "log in first (docker login, podman login) with an account that may push there",
    ),
    *_CAUSES[:1],
    _cause(
        r"(?:no such host|connection refused|could not resolve|timeout|unreachable|http response to https|x509)",
        "the registry cannot be reached",
        "check its name and the network; for one without TLS see the engine's list of insecure registries",
    ),
)


def explain_build(progress: BuildProgress, lines: list[str], log: Path) -> BuildError:
    """The error for a build that has ended with a failure; `lines`: the last ones of its output."""
    at = (
        f"at step {progress.step} of {progress.steps} ({progress.doing})" if progress.steps else "before its first step"
    )
    what, way_out = _explain(lines, _CAUSES)
    hint = (
        f"{way_out}; all that the builder wrote is in {log}" if way_out else f"all that the builder wrote is in {log}"
    )
    return BuildError(f"the build failed {at}: {what}", hint)


def explain_push(tag: str, lines: list[str], log: Path) -> BuildError:
    """The error for a push that failed."""
    host = tag.partition("/")[0]
    # A name or a digest may contain what else would be a cause, such as "denied" or "403".
    names = re.compile(rf"sha256:[0-9a-f]+|{re.escape(tag)}|{re.escape(host)}(?::\d+)?")
    what, way_out = _explain(lines, _PUSH_CAUSES, names)
    return BuildError(
        f"'{tag}' was built, but not pushed: {what}", hint=f"{way_out + '; ' if way_out else ''}see {log}"
    )


def _explain(lines: list[str], causes: tuple[Cause, ...], names: re.Pattern[str] | None = None) -> tuple[str, str]:
    """What went wrong, with the line that says so, and the way out where it is known. `names` are not searched."""
    for cause in causes:
        for line in reversed(lines):
            searched = names.sub(lambda name: " " * len(name[0]), line) if names else line
            if found := cause.pattern.search(searched):
                groups = [group or "" for group in found.groups()]
                said = _shortened(line, found.start())
                return f"{cause.what.format(*groups).strip()} ({said})", cause.way_out.format(*groups)
    telling = [line for line in lines if line.strip() and not _NOISE.match(line)]
    return _shortened(telling[-1] if telling else "the builder said nothing"), ""


def _shortened(line: str, around: int = 0) -> str:
    """The line, or 300 characters of it with that place among them."""
    begin = max(0, around - 150) if len(line) > 300 else 0
    text = re.sub(r"\s+", " ", line[begin : begin + 300]).strip()
    return f"{'...' if begin else ''}{text}{'...' if begin + 300 < len(line) else ''}"
