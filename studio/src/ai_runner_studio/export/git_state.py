"""What git knows of a project: the revision and where it is published."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

GIT_TIMEOUT_S = 20.0


def revision(folder: Path, output: Path | None) -> str:
    """Commit of the folder's repository, with ``-dirty`` where the folder has other files; empty without git.

    Args:
        output: a folder that the export itself writes, which does not count.
    """
    commit = _git(folder, "rev-parse", "HEAD").strip()
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return ""
    paths = ["."]
    if output and output.resolve().is_relative_to(folder.resolve()) and output.resolve() != folder.resolve():
        paths.append(f":(exclude){output.resolve().relative_to(folder.resolve())}")
    changed = _git(folder, "status", "--porcelain", "--", *paths)
    return f"{commit}-dirty" if changed.strip() else commit


def published_at(folder: Path) -> str:
    """Web address of the repository's remote ``origin``, without credentials; empty where it is no such address."""
    remote = _git(folder, "remote", "get-url", "origin").strip()
    ssh = re.fullmatch(r"(?:ssh://)?git@([\w.-]+)[:/](.+?)(?:\.git)?/?", remote)
    web = re.fullmatch(r"https://(?:[^@/]*@)?([\w.-]+(?::\d+)?)/(.+?)(?:\.git)?/?", remote)
    found = ssh or web
    return f"https://{found.group(1)}/{found.group(2)}" if found else ""


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # no git here: nothing is known of a revision
        return ""
    return done.stdout if done.returncode == 0 else ""
