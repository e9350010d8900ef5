"""Where Scope keeps its files: below the runner's `MODEL_DIR`, unless its own variables say otherwise."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

MODELS = "DAYDREAM_SCOPE_MODELS_DIR"
DEFAULT_MODEL_DIR = "~/.lpData/models"

# Scope's variable -> folder below MODEL_DIR. The models' is that of daydreamlive's own runner image, so that a
# volume filled for it can be mounted here.
_FOLDERS = {
    "DAYDREAM_SCOPE_DIR": "Scope",
    MODELS: "Scope--models",
    "DAYDREAM_SCOPE_PLUGINS_DIR": "Scope--plugins",
}


def use_model_folders(environ: MutableMapping[str, str]) -> Path:
    """Point Scope to the runner's models; must come before its registry is imported, which reads these variables.

    Importing the registry installs the plugins that a plugins folder lists: with a folder of our own those are
    never the ones that somebody keeps in the home folder.

    Returns:
        The folder for models. It need not exist yet.
    """
    root = Path(environ.get("MODEL_DIR") or DEFAULT_MODEL_DIR).expanduser()
    for variable, name in _FOLDERS.items():
        if not environ.get(variable):
            environ[variable] = str(root / name)
    return Path(environ[MODELS]).expanduser()
