"""MediaPipe's models, which come inside its wheel; the package is an extra that has to be installed by hand."""

from __future__ import annotations

import importlib
from typing import Any

INSTALL = 'pip install "ai-runner-samples[mediapipe]" && pip install --no-deps mediapipe==0.10.21'


def mediapipe_solution(name: str) -> Any:
    """The module `mediapipe.python.solutions.<name>`.

    Raises:
        ModuleNotFoundError: the extra is not installed; says how to install it.
    """
    try:
        return importlib.import_module(f"mediapipe.python.solutions.{name}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"this sample needs MediaPipe, and there is no module '{error.name}'. Install it (Python 3.12 at most): "
            f"{INSTALL}",
            name=error.name,
        ) from error
