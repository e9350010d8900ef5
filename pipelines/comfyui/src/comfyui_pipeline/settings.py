"""ServerChoice: which ComfyUI server is used, by the environment of the process, else by params, else the usual one.

| variable | |
|---|---|
| `COMFYUI_URL` | a server that runs already; may have ``user:password@`` in it |
| `COMFYUI_TOKEN` | sent to it as ``Authorization: Bearer`` |
| `COMFYUI_FOLDER` | a folder whose server is started and watched (also `COMFY_UI_WORKSPACE`, Livepeer's name) |
| `COMFYUI_PYTHON` | the interpreter for it; by default that of the folder's ``.venv`` or ``venv``, else this one |
| `COMFYUI_ARGS` | more arguments for its ``main.py``, as in a shell |
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .address import ServerAddress
from .errors import SettingsError

if TYPE_CHECKING:
    from .params import ComfyUIParams

DEFAULT_URL = "http://127.0.0.1:8188"


@dataclass(frozen=True, slots=True)
class ComfyFolder:
    """A ComfyUI folder to be run.

    Attributes:
        path: where main.py is.
        python: the interpreter that has ComfyUI's requirements.
        arguments: more of them for main.py.
    """

    path: Path
    python: Path
    arguments: tuple[str, ...] = ()

    @classmethod
    def find(cls, text: str, environ: Mapping[str, str]) -> ComfyFolder:
        """Check a folder.

        Raises:
            SettingsError: it is no ComfyUI folder, or the interpreter is not there.
        """
        path = Path(text).expanduser().resolve()
        if not (path / "main.py").is_file():
            raise SettingsError(f"{path} is no ComfyUI folder: there is no main.py in it (COMFYUI_FOLDER)")
        python = Path(environ.get("COMFYUI_PYTHON") or _python_of(path))
        if not os.access(python, os.X_OK):
            raise SettingsError(f"COMFYUI_PYTHON is {python}, which cannot be run")
        try:
            arguments = tuple(shlex.split(environ.get("COMFYUI_ARGS", "")))
        except ValueError as error:
            raise SettingsError(f"COMFYUI_ARGS cannot be read ({error}): quote it as in a shell") from None
        return cls(path, python, arguments)


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """A server that runs at `address`, or a `folder` to start one from: one of both is set."""

    address: ServerAddress | None = None
    folder: ComfyFolder | None = None
    token: str = field(default="", repr=False)

    @classmethod
    def choose(cls, params: ComfyUIParams, environ: Mapping[str, str]) -> ServerChoice:
        """The server that is meant. What the environment says cannot be changed by params, which the network sends.

        Raises:
            SettingsError: what is said contradicts itself, or cannot be used.
        """
        url = environ.get("COMFYUI_URL", "")
        folder = environ.get("COMFYUI_FOLDER") or environ.get("COMFY_UI_WORKSPACE") or ""
        token = environ.get("COMFYUI_TOKEN", "")
        if url and folder:
            raise SettingsError("COMFYUI_URL and COMFYUI_FOLDER are both set: a server that runs, or one to be started")
        if not (url or folder):
            if params.server_url and params.folder:
                raise SettingsError("server_url and folder are both given: a server that runs, or one to be started")
            url, folder = params.server_url, params.folder
        elif params.server_url or params.folder:
            raise SettingsError("which server is used is set by COMFYUI_URL or COMFYUI_FOLDER here, not by params")
        if folder:
            return cls(folder=ComfyFolder.find(folder, environ))
        return cls(ServerAddress.parse(url or DEFAULT_URL), token=token)


def _python_of(folder: Path) -> str:
    for name in (".venv", "venv"):
        python = folder / name / "bin" / "python"
        if python.exists():
            return str(python)
    return sys.executable
