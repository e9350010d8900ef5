"""What can go wrong, as one short tree.

RunnerError
├── PipelineLoadError         the named pipeline cannot be used
│   ├── ImportPathError       not of the form ``package.module:Class``
│   ├── ModuleNotFound        the module itself is not there
│   ├── ClassNotFound         the module has no such name
│   ├── NotAPipelineError     the name is neither a Pipeline nor a transform
│   └── HeavyParamsError      the params module imports torch, or the pipeline's own module
├── ParamsError               values that the params class refuses
├── StreamError               a stream cannot be started or goes wrong
│   ├── SourceError           where frames come from: missing, busy, not a video
│   ├── SinkError             where frames go to: not writable, disk full
│   ├── AddressError          a stream URL that is not allowed here
│   └── TrickleError          a trickle server cannot be reached, or refuses
│       └── ChannelGone       the channel is not there, or not any more
├── ProcessError              the pipeline process itself: exited, hung, never came up
├── OrchestratorError         live-runner contract: the orchestrator does not answer, or refuses
├── SessionError              live-runner contract: a session cannot be served
└── SettingsError             live-runner contract: a setting that is none

Messages are written for the person who made the mistake: the thing, the value, the way out.
"""

from __future__ import annotations

from typing import ClassVar


class RunnerError(Exception):
    """Base of every error this package raises on purpose. ``str(error)`` is fit for a user.

    Attributes:
        says_all: the place in the code where it was raised explains nothing more, and is not shown.
        hint: the way out, where the message does not have it.
    """

    says_all: ClassVar[bool] = False
    hint: str = ""


class PipelineLoadError(RunnerError):
    """The named pipeline cannot be used."""


class ImportPathError(PipelineLoadError):
    """The import path is not of the form ``package.module:Class``."""


class ModuleNotFound(PipelineLoadError):
    """The module named by the import path does not exist (an import that fails *inside* it is passed through)."""


class ClassNotFound(PipelineLoadError):
    """The module exists and has no attribute of that name."""


class NotAPipelineError(PipelineLoadError):
    """The attribute is neither a `Pipeline` class nor a transform function or class."""


class HeavyParamsError(PipelineLoadError):
    """The params module drags in a module that the host process must not load."""


class ParamsError(RunnerError):
    """Values refused by the params class.

    Attributes:
        refused: field name -> reason, in the order in which they were given.
    """

    def __init__(self, message: str, refused: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.refused = refused or {}


class StreamError(RunnerError):
    """A stream cannot be started or goes wrong."""


class SourceError(StreamError):
    """Frames cannot be had from where they should come: missing, busy, not a video."""


class SinkError(StreamError):
    """Frames cannot be put where they should go: not writable, disk full."""


class AddressError(StreamError):
    """A stream URL that is none, or that this runner is not allowed to connect to."""


class TrickleError(StreamError):
    """A trickle server cannot be reached, does not answer in time, or refuses."""


class ChannelGone(TrickleError):
    """The trickle channel does not exist (any more): for a reader the end of the stream."""


class ProcessError(RunnerError):
    """The pipeline process exited, hung, or never came up."""
