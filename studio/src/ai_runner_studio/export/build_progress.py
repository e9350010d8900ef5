"""BuildProgress: how far a builder has come, read from what it writes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_CLASSIC = re.compile(r"^(?:\[\d+/\d+\] )?STEP (\d+)/(\d+)\s*: (.*)$", re.IGNORECASE)  # buildah, podman, old docker
_BUILDKIT = re.compile(r"^#(\d+) \[(?:[^\]]*?\s)?(\d+)/(\d+)\] (.*)$")
_BUILDKIT_CACHED = re.compile(r"^#(\d+) CACHED$")
_COMMIT = re.compile(r"^(COMMIT\b|#\d+ exporting to image)")
_IMAGE = re.compile(r"^-->(?: Using cache)? ([0-9a-f]{10,64})$")
_WHOLE_ID = re.compile(r"[0-9a-f]{64}")
_REQUIREMENTS = re.compile(r"\breq/\d+-([\w-]+)\.txt")
# What is in a RUN of the export's own Dockerfile -> what it does.
_RUNS = {
    "apt-get install": "installing system packages",
    "useradd": "making the user that the image runs as",
    "uv venv": "making the Python environment",
}


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """One moment of a build.

    Attributes:
        step, steps: counted from 1; 0 before the first.
        instruction: of the Dockerfile, on one line.
        cached: how many steps were taken from earlier builds so far.
    """

    step: int = 0
    steps: int = 0
    instruction: str = ""
    cached: int = 0

    @property
    def doing(self) -> str:
        """What the step does, in a few words."""
        return describe(self.instruction)


class BuildLog:
    """Reads a builder's lines.

    Attributes:
        progress: the newest.
        images: name of the base image, and ids, or beginnings of ids, of images that steps gave or were taken from.
        image: the newest complete id that stood on a line of its own, at the end that of the image.
    """

    def __init__(self) -> None:
        self.progress = BuildProgress()
        self.images: set[str] = set()
        self.image = ""
        self._buildkit: dict[str, BuildProgress] = {}

    def read(self, line: str) -> bool:
        """Take one line; whether it changed `progress`."""
        before = self.progress
        line = line.rstrip()
        if found := _CLASSIC.match(line):
            self.progress = replace(before, step=int(found[1]), steps=int(found[2]), instruction=_one_line(found[3]))
            if found[3].upper().startswith("FROM "):
                self.images.add(found[3].split()[1])
        elif found := _BUILDKIT.match(line):
            at = replace(before, step=int(found[2]), steps=int(found[3]), instruction=_one_line(found[4]))
            self._buildkit[found[1]] = self.progress = at
        elif (found := _BUILDKIT_CACHED.match(line)) and found[1] in self._buildkit:
            self.progress = replace(before, cached=before.cached + 1)
        elif found := _IMAGE.match(line):
            self.images.add(found[1])
            self.progress = replace(before, cached=before.cached + ("Using cache" in line))
        elif _WHOLE_ID.fullmatch(line):
            self.image = line
        elif _COMMIT.match(line):
            self.progress = replace(before, step=before.steps, instruction="COMMIT")
        return self.progress != before


def describe(instruction: str) -> str:
    """What an instruction does, in a few words."""
    word, _, rest = instruction.partition(" ")
    word = word.upper()
    if word == "COMMIT":
        return "writing the image"
    if word == "FROM":
        return f"base image {rest.split(' ')[0]}" if rest else "base image"
    if word == "RUN":
        if found := _REQUIREMENTS.findall(rest):
            return f"installing {found[-1]}"
        for sign, doing in _RUNS.items():
            if sign in rest:
                return doing
    return f"{word} {rest}"[:80]


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
