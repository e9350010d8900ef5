"""What can go wrong in the studio, with the exit code that scripts see.

StudioError                 exit 1: it ran and failed
├── ParamsRefused           the pipeline does not take these parameters
├── HostError               the runner host could not be started or went away
├── ExportError             the production image cannot be planned or its context not be written
│   ├── EngineError         docker, podman or buildah is missing, does not answer or refuses
│   ├── BuildError          the image was not built
│   └── VerificationFailed  the image was built, and does not do what it must
└── UsageError              exit 2: it was asked for wrongly; nothing was run
    ├── InterpreterError    the project's Python has no ai-runner-base, or is none
    ├── SourceNotFound      no such sample, file, device
    ├── SettingsError       pyproject.toml or an environment variable cannot be used
    └── TerminalError       no terminal, or too small a one

Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C.
"""

from __future__ import annotations


class StudioError(Exception):
    """Base of what the studio raises on purpose. ``str(error)`` is shown to the user as it is.

    Attributes:
        exit_code: what the command exits with.
        hint: the way out, shown on a line of its own; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ParamsRefused(StudioError):
    """The pipeline does not take these parameters; the old ones stay in force.

    Attributes:
        refused: field -> reason, where fields are to blame.
    """

    def __init__(self, message: str, refused: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.refused = refused or {}


class HostError(StudioError):
    """The runner host could not be started or went away."""


class ExportError(StudioError):
    """The project cannot be made into an image as it is: a dependency without a wheel, a secret in the context."""


class EngineError(ExportError):
    """A container engine is missing, does not answer, or refuses what it was asked for."""


class BuildError(ExportError):
    """The image was not built; which step failed, and why."""


class VerificationFailed(ExportError):
    """The image was built, and does not do what it must."""


class UsageError(StudioError):
    """Asked for wrongly; nothing was run."""

    exit_code = 2


class InterpreterError(UsageError):
    """The project's Python is none, or lacks ai-runner-base."""


class SourceNotFound(UsageError):
    """No such sample, file or device."""


class SettingsError(UsageError):
    """A setting in pyproject.toml or the environment cannot be used."""


class TerminalError(UsageError):
    """No terminal, or too small a one."""
