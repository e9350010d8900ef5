"""Everything that crosses between the host and a pipeline process, except pixels.

Small frozen dataclasses, sent over one socket per process in the order in which they happen.
Both ends are the same version of this package, started by one another: they travel pickled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from socket import socket
from typing import Any

from ..code.source import SourceFile
from ..report import ErrorReport

# ---- either way ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RingOpened:
    """The sender writes its frames to this ring from now on. `number` counts its rings from 1."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class FrameSent:
    """A frame lies in a slot of the sender's ring; the receiver holds the slot until `FrameTaken`."""

    ring: int
    slot: int
    request_id: str


@dataclass(frozen=True, slots=True)
class FrameTaken:
    """The receiver of `FrameSent` is done with the slot. From the child it also asks for the next frame.

    `referenced`: from the child, how many of the tensors that it has given to the pipeline are still in use there.
    """

    ring: int
    slot: int
    referenced: int = 0


# ---- host -> pipeline process ----------------------------------------------------------------


@dataclass(frozen=True)
class Boot:
    """Passed to the process at its start: its ends of the socket and of the stdout and stderr pipes.

    `template`: it is to import what it is told to and fork from then on, instead of loading a pipeline.
    """

    control: socket
    stdout: Connection
    stderr: Connection
    parent_pid: int
    verbose: bool
    template: bool = False


@dataclass(frozen=True, slots=True)
class Preload:
    """To a template: import these modules (third-party ones, by name); answered by `Preloaded`."""

    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """To a template: fork a pipeline process; answered by `Forked`.

    Three descriptors come with it: the new process' ends of its socket, stdout and stderr.
    """


@dataclass(frozen=True, slots=True)
class Warm:
    """Do what can be done before there is a pipeline: import these modules, run the conversions once."""

    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Import the pipeline and initialize it.

    `spec` is a `PipelineSpec` as JSON. `strict`: a refused param fails the load; otherwise it is
    dropped and named, and the rest applied (params that come from an earlier revision). `store`: folder
    of the snapshot store, "" for none. `snapshot`: these sources are loaded instead of what is on disk.
    `patchable`: code may be put into the process later, so note what runs while it is loaded.
    `folder`: of its `ProcessResources`, "" for none.
    """

    spec: str
    params: dict[str, Any]
    strict: bool = True
    store: str = ""
    snapshot: tuple[SourceFile, ...] = ()
    patchable: bool = False
    folder: str = ""


@dataclass(frozen=True, slots=True)
class PatchCode:
    """Put the code that is on disk now into the running pipeline; answered by `CodePatched` or `PatchFailed`.

    After `CodePatched` comes `CodeProven`, `CodeRefuted` or `CodeUndone`. `files`: the saved ones.
    `force`: without proof. `trusted`: functions (``module:Class.method``) that need none.
    """

    number: int
    files: tuple[str, ...] = ()
    force: bool = False
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DropPatch:
    """Take back this patch, or do not put it in; not answered."""

    number: int


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """Frames of this request follow; outputs of another one are not wanted."""

    request_id: str


@dataclass(frozen=True, slots=True)
class StreamDrained:
    """No more frames will come: push out what is pending, then answer `Flushed`."""


@dataclass(frozen=True, slots=True)
class ParamsSent:
    """Apply these params; answered by `ParamsApplied` or `ParamsRefused` of the same `number`."""

    number: int
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the pipeline and exit."""


# ---- pipeline process -> host ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepEntered:
    """Loading has come to "import" or "initialize"."""

    name: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The pipeline is initialized.

    `params` are all of them, as its class filled them in; `schema` is the class' JSON schema;
    `dropped` names the fields that the class refused, with reasons.
    """

    params: dict[str, Any]
    schema: dict[str, Any]
    dropped: dict[str, str]
    device: str
    show_reloading_frame: bool
    output_width: int
    output_height: int


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The pipeline could not be imported or initialized; the process ends now."""

    report: ErrorReport


@dataclass(frozen=True, slots=True)
class SourcesSeen:
    """All of the user's source files that this process has imported so far; absolute, real paths.

    `loaded`: those of them that were loaded whole, with what they held then.
    """

    files: tuple[str, ...]
    loaded: tuple[SourceFile, ...] = ()


@dataclass(frozen=True, slots=True)
class ModulesSeen:
    """Modules that this process has imported and that are not the user's, in the order of their import."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preloaded:
    """A template has imported what it was told to.

    `forks`: whether it is safe to fork it; `reason` says why not. `modules`: how many it has imported.
    """

    forks: bool
    reason: str
    modules: int


@dataclass(frozen=True, slots=True)
class Forked:
    """A template has forked process `pid`, which is a child of the host now; 0: it could not."""

    pid: int


@dataclass(frozen=True, slots=True)
class Warmed:
    """`Warm` is done."""


@dataclass(frozen=True, slots=True)
class CodePatched:
    """The new code is in force. `changed`: qualified names of what is new. `empty`: no file differed.

    `forced`: a part of it needs no proof, by the author's word.
    """

    number: int
    changed: tuple[str, ...]
    empty: bool
    forced: bool = False


@dataclass(frozen=True, slots=True)
class PatchFailed:
    """Nothing has changed: `refused` says why a fresh process is needed, or `report` what is wrong with the code."""

    number: int
    refused: str = ""
    report: ErrorReport | None = None


@dataclass(frozen=True, slots=True)
class CodeProven:
    """Each changed part of the code was seen to run on each of the first frames."""

    number: int


@dataclass(frozen=True, slots=True)
class CodeRefuted:
    """A changed part of the code did not run on a frame: the code before it is in force again.

    `frames`: inputs that went into the new code.
    """

    number: int
    reason: str
    frames: int


@dataclass(frozen=True, slots=True)
class CodeUndone:
    """An exception in the first frames of patched code: the code before it is in force again."""

    number: int
    report: ErrorReport


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """An exception for a frame, or an output that is no frame. The loop goes on with the next."""

    report: ErrorReport


@dataclass(frozen=True, slots=True)
class OutputWarned:
    """The pipeline works, but not as it should: its first output differs from the contract, or it keeps its frames."""

    message: str


@dataclass(frozen=True, slots=True)
class ParamsApplied:
    """Params are in force (`reloading` False), or the pipeline has begun to reload for them (True)."""

    number: int
    params: dict[str, Any]
    schema: dict[str, Any]
    reloading: bool
    output_width: int
    output_height: int


@dataclass(frozen=True, slots=True)
class ParamsReloaded:
    """The reload that `ParamsApplied` announced is over; these are in force."""

    params: dict[str, Any]
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReloadChanged:
    """The pipeline has begun to bring itself back, or has done so."""

    reloading: bool


@dataclass(frozen=True, slots=True)
class ParamsRefused:
    """Params were refused; the old ones stay. `refused`: field -> reason where fields are to blame."""

    number: int
    report: ErrorReport
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flushed:
    """Answer to `StreamDrained`: the pipeline was asked for what it still had."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One log record. `report` marks records logged with ``extra={"report_error": True}``."""

    level: str
    source: str
    message: str
    at: float
    report: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent twice a second by a thread of its own, so that it comes also while the event loop is busy.

    `loop_lag_s`: for how long the event loop has not come round. `debugged`: see `debugging.is_debugged`.
    """

    loop_lag_s: float
    threads: int
    vram_bytes: int
    debugged: bool = False


Message = Any  # one of the classes above
