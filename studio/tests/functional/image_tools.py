"""What builds and runs images in tests: the tools, a base image of Debian packages, and a store of a test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ai_runner_studio.export.containers_storage import Store

from .image_base import SEARCH_PATH, base_archive

BASE = "localhost/ci-python:debian"
_DOCKERFILE = 'FROM scratch\nADD {archive} /\nENV LANG=C.UTF-8\nCMD ["python3"]\n'


class ImageStore:
    """An image store below a folder, and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = Store(folder)
        self.options = self._store.options

    def buildah(self, *arguments: str) -> str:
        return self._call("buildah", *arguments)

    def podman(self, *arguments: str) -> str:
        return self._call("podman", "--cgroup-manager=cgroupfs", "--runtime=runc", *arguments)

    def _call(self, program: str, *arguments: str) -> str:
        command = [program, *self.options, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, umask=0o022, env=os.environ | {"PATH": SEARCH_PATH}
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def add_base(self) -> None:
        """Make `BASE`."""
        archive = base_archive(Path(sys.prefix) / "image-base")
        self.folder.mkdir(parents=True)
        dockerfile = self.folder / "base.Dockerfile"
        dockerfile.write_text(_DOCKERFILE.format(archive=archive.name))
        self.buildah("build", "--isolation", "chroot", "-t", BASE, "-f", str(dockerfile), str(archive.parent))

    @property
    def names(self) -> set[str]:
        """Of all images."""
        listed = self.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        return {name for name in listed if "<none>" not in name}

    @property
    def containers(self) -> list[str]:
        """Ids of all containers, those of builds too."""
        return self.podman("ps", "--all", "--external", "--quiet").split()

    def remove(self) -> None:
        """All of it, with what is still mounted."""
        self.buildah("rm", "--all")
        if (self.folder / "graph" / "libpod").exists():  # podman was here; it needs room to look
            self.podman("rm", "--force", "--all")
        for place in (self.folder, self._store.run_folder):
            for mounted in reversed(mounts_below(place)):
                subprocess.run(["umount", mounted], check=True)
        shutil.rmtree(self.folder)
        shutil.rmtree(self._store.run_folder, ignore_errors=True)


@contextlib.contextmanager
def image_store(folder: Path) -> Iterator[ImageStore]:
    """A store that is gone afterwards."""
    store = ImageStore(folder)
    try:
        yield store
    finally:
        store.remove()


def mounts_below(folder: Path) -> list[str]:
    """Mount points, in the order in which they were made."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def processes_with(text: str) -> list[str]:
    """Command lines of processes that mention it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in words and entry.parent.name != str(os.getpid()):
                found.append(words)
    return found
