"""``comfyui-nodes install FOLDER``: copies our nodes into a ComfyUI folder.

Not needed for a server that is started from a folder (`COMFYUI_FOLDER`): that one is told where they lie.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .errors import SettingsError

PACKAGE = Path(__file__).with_name("node_package") / "custom_nodes" / "ai_runner_live_frames"


def install_nodes(folder: Path) -> Path:
    """Copy our nodes into ``folder/custom_nodes``, in place of what an older version has put there; where they are.

    Raises:
        SettingsError: the folder is none of ComfyUI's, or cannot be written to.
    """
    custom_nodes = folder.expanduser().resolve() / "custom_nodes"
    if not custom_nodes.is_dir():
        raise SettingsError(f"{folder} is no ComfyUI folder: it has no custom_nodes in it")
    target = custom_nodes / PACKAGE.name
    try:
        # Put together aside, so that a server that starts meanwhile finds all of it or nothing.
        with tempfile.TemporaryDirectory(prefix=".ai-runner-", dir=custom_nodes.parent) as aside:
            new, old = Path(aside, "new"), Path(aside, "old")
            shutil.copytree(PACKAGE, new, ignore=shutil.ignore_patterns("__pycache__"))
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
    except OSError as error:
        raise SettingsError(f"cannot write to {custom_nodes}: {error.strerror or error}") from error
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Exits with 1 and one line for a folder that cannot be used."""
    parser = argparse.ArgumentParser(prog="comfyui-nodes", description="AI Runner's nodes for ComfyUI.")
    commands = parser.add_subparsers(required=True)
    install = commands.add_parser("install", help="copy them into a ComfyUI folder")
    install.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that has custom_nodes in it")
    options = parser.parse_args(arguments)
    try:
        target = install_nodes(options.folder)
    except SettingsError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"installed in {target}\nRestart ComfyUI, so that it loads them.\n")
