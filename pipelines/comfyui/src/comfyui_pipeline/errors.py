"""What can go wrong, as one short tree.

ComfyUIError                    (a `runner.errors.RunnerError`)
├── SettingsError               an address, a folder or a variable that cannot be used
├── ServerError                 the ComfyUI server itself
│   ├── ServerStartError        it does not answer, or did not come up
│   └── ServerLost              it went away in the middle of the work
├── WorkflowError               the workflow, or a value for one of its nodes, cannot be used
├── ExecutionError              a node failed on a picture
│   ├── OutOfMemoryError        the GPU's memory is full, also after models were unloaded
│   ├── FrameTimeoutError       a picture took too long
│   └── InterruptedExecutionError  somebody pressed "interrupt" in ComfyUI
└── TransportError              pictures cannot be given to, or had from, the server
"""

from __future__ import annotations

from runner.errors import ParamsError, RunnerError


class ComfyUIError(RunnerError):
    """Base of every error this package raises on purpose. ``str(error)`` is fit for a user."""

    says_all = True


class SettingsError(ComfyUIError, ValueError):
    """An address, a folder or a variable that cannot be used. A ValueError, so that params classes may raise it."""


class ServerError(ComfyUIError):
    """The server refuses, answers nonsense, or does not answer."""


class ServerStartError(ServerError):
    """The server does not answer, or did not come up; the message has the last lines that it wrote."""


class ServerLost(ServerError):
    """The server went away while prompts were under way.

    Attributes:
        hint: that it is brought back, or how to.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class WorkflowError(ComfyUIError, ParamsError, ValueError):
    """The workflow, or a value for one of its nodes, cannot be used; whatever ran before goes on.

    Attributes:
        problems: one sentence each.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ExecutionError(ComfyUIError):
    """A node failed while it worked on a picture."""


class OutOfMemoryError(ExecutionError):
    """A node needs more memory than there is."""


class FrameTimeoutError(ExecutionError):
    """A picture took longer than it may; its prompt was interrupted."""


class InterruptedExecutionError(ExecutionError):
    """The prompt was interrupted from outside; its picture is lost, the next one goes on."""


class TransportError(ComfyUIError):
    """Pictures cannot be given to the server, or had from it."""
