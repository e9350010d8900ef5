"""Session: the studio's model of one run. It knows no screen; the TUI and the headless run are its faces.

A face reads `Session.snapshot`, a frozen picture of everything worth showing, waits for the next
one with `changed`, takes newest pictures from `input_tap` and `output_tap`, and calls the few verbs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runner.live.events import (
    Event,
    LoadFailed,
    LoadStarted,
    LoadSucceeded,
    LoadSuperseded,
    LogWritten,
    SourcesChanged,
    StreamEnded,
    TapOpened,
)

from .errors import HostError, StudioError, UsageError
from .history import History
from .host import Host
from .interpreter import check_interpreter, find_interpreter
from .preview.tap import Tap
from .reload.revisions import FileDifference, Revisions
from .reload.watch import Watcher
from .settings import RouteName, Settings
from .snapshot import Load, Snapshot
from .sources.resolve import resolve_input

if TYPE_CHECKING:
    from .export.image_job import ImageJob

__all__ = ["FileDifference", "Load", "Session", "Snapshot"]

CHANGES_PER_S = 20
DATA_FILES_NAMED = 3


class Session:
    """One run of one pipeline: host, source, params, reloads, metrics, errors.

    Attributes:
        settings: what it was asked for.
        snapshot: the newest picture of everything.
        input_tap, output_tap: newest pictures before and after the pipeline.
    """

    def __init__(self, settings: Settings, *, stream_when_ready: bool = False) -> None:
        """`stream_when_ready`: begin the stream when the pipeline serves, not at once (a run that counts frames)."""
        self.settings = settings
        self.input_tap, self.output_tap = Tap(), Tap()
        self.paused = False
        self._stream_when_ready = stream_when_ready
        self._history = History(code_kept=settings.reload)
        self._history.update(route=settings.route)
        self.snapshot = self._history.snapshot(watching=0)
        self._host: Host | None = None
        self._starting = asyncio.Lock()
        self._python = ""
        self._source = ""
        self._served = asyncio.Event()  # by any revision of this host
        self._listeners: list[Callable[[Event], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._told_at = 0.0
        self._ended = asyncio.Event()
        self._closing = False
        self._watcher: Watcher | None = None
        self._revisions = Revisions(settings.project, settings.watch)
        self._imported: tuple[str, ...] = ()
        self._loading: int | None = None
        self._load_began = 0.0

    # ---- life ------------------------------------------------------------------------------

    async def start(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start the host; returns as soon as it answers. Loading and stream go on in the background.

        Also starts anew what has ended because the host died.

        Args:
            meanwhile: called while the host's process comes up, for what takes time here: imports.

        Raises:
            UsageError: wrong import path, interpreter or input. HostError: the host did not come up.
        """
        settings = self.settings
        _check_import_paths(settings)
        self._source = resolve_input(settings.input, settings.project)
        found = find_interpreter(settings.python, settings.project, settings.python_configured)
        interpreter = await asyncio.to_thread(check_interpreter, found, settings.project)
        self._history.update(interpreter=interpreter.path, interpreter_reason=interpreter.reason)
        self._python = interpreter.path
        said = f"the pipeline runs in {interpreter.path}, Python {interpreter.version} ({interpreter.reason})"
        self._tell(LogWritten(level="INFO", source="studio", message=said))
        # Before the host, whose first events say what to watch.
        if settings.reload and self._watcher is None:
            self._watcher = Watcher(settings.project, settings.watch, self._history.notice)
            self._spawn(self._watch(self._watcher))
        await self._start_host(meanwhile)

    async def _start_host(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        settings = self.settings
        self._history.restarted()
        self._history.update(
            keep_weights=settings.reload and settings.keep_weights, standby_on=settings.reload and settings.standby
        )
        self._publish()  # what the dead host served is on no screen while the new one comes up
        dead, self._host = self._host, None
        if dead is not None:
            await dead.close()
        self._ended.clear()
        self._served.clear()
        self._host = await Host.start(self._python, settings, self._hear_host, meanwhile)
        self._revisions.begin(self._host.snapshots)
        self._spawn(self._follow(self._host))
        if self._stream_when_ready:
            self._spawn(self._stream_when_served(self._host))
        else:
            await self._begin_stream()

    async def _start_again(self) -> None:
        try:
            await self._start_host()
        except HostError as error:
            self._history.host_died(str(error))
            self._publish()
            raise

    async def close(self) -> None:
        """End host and pipeline process. Safe to call twice."""
        self._closing = True
        if self._watcher is not None:
            await self._watcher.close()
        for task in list(self._tasks):
            task.cancel()
        if self._host is not None:
            await self._host.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.input_tap.close()
        self.output_tap.close()
        self._ended.set()

    def kill(self) -> None:
        """End the host and all that it has started at once. From any thread; `close` still cleans up."""
        if self._host is not None:
            self._host.kill()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- what faces read -------------------------------------------------------------------

    def listen(self, callback: Callable[[Event], None]) -> None:
        """Call `callback` with every event of the host, in order."""
        self._listeners.append(callback)

    async def changed(self) -> Snapshot:
        """Wait for a snapshot that an earlier call has not returned; at most 20 a second."""
        await asyncio.sleep(max(0.0, self._told_at + 1 / CHANGES_PER_S - time.monotonic()))
        await self._changed.wait()
        self._changed.clear()
        self._told_at = time.monotonic()
        return self.snapshot

    async def wait_ended(self) -> StreamEnded:
        """Wait until the stream is over.

        Raises:
            HostError: the host went away before that.
        """
        await self._ended.wait()
        if self.snapshot.ended is None:
            reason = self._host.exit_reason if self._host else "was not started"
            raise HostError(f"the runner host {reason}")
        return self.snapshot.ended

    def _publish(self) -> None:
        watching = self._watcher.watching if self._watcher else 0
        self.snapshot = self._history.snapshot(watching)
        self._changed.set()

    # ---- verbs -----------------------------------------------------------------------------

    async def set_params(self, changes: dict[str, Any]) -> None:
        """Change some params of the running pipeline; the others stay as they are.

        Raises:
            ParamsRefused: none was changed. HostError, StudioError: it cannot be done now.
        """
        await self._ready_host().post("/api/params", {**self.snapshot.params, **changes})

    async def reload(self, reason: str = "", level: Literal["auto", "process", "force"] = "auto") -> None:
        """Load the code that is on disk now; starts the host again if it has died.

        Args:
            level: "process" for a fresh one, "force" into the running one where that can be done, proven or not.
        """
        if self._watcher is not None:
            self._watcher.follow_again()
        async with self._starting:
            host = self._host
            if host is None or host.exited.is_set():
                await self._start_again()
                return
        await host.post("/api/reload", {"reason": reason, "level": level})

    async def revert(self, revision: int) -> None:
        """Load the code of an earlier good revision of this run again. The files on disk stay as they are.

        Raises:
            StudioError: its code is not kept. HostError: there is no host.
        """
        await self._ready_host().post("/api/revert", {"revision": revision})

    async def set_keep_weights(self, on: bool) -> None:
        """Set whether changed code is put into the running process where frames prove it.

        Raises:
            HostError: there is no host.
        """
        await self._ready_host().post("/api/reload-options", {"keep_weights": on})
        self.settings = replace(self.settings, keep_weights=on)

    async def set_standby(self, on: bool) -> None:
        """Whether a process is to be kept ready for the next reload.

        Raises:
            HostError: there is no host.
        """
        await self._ready_host().post("/api/reload-options", {"standby": on})
        self.settings = replace(self.settings, standby=on)

    def image_job(self, tell: Callable[[str], None]) -> ImageJob:
        """The export of this pipeline as a production image; `tell`: is told what is done, from any thread."""
        from .export.image_job import ImageJob

        return ImageJob(self.settings, tell)

    def differences(self, revision: int, against: int | None = None) -> list[FileDifference]:
        """What is different, against a good revision, in another one, or on disk now; sorted by path.

        Args:
            revision: the old side. against: the new side, None for what is on disk.

        Raises:
            StudioError: one of the revisions was not good, or is no longer kept.
        """
        old = self._good(revision)
        if against is not None:
            return self._revisions.between(old, self._good(against))
        from_disk = (load for load in reversed(self.snapshot.loads) if load.can_return and load.restores is None)
        return self._revisions.against_disk(old, next(from_disk, old), self._imported)

    def _load(self, revision: int) -> Load | None:
        return next((load for load in self.snapshot.loads if load.revision == revision), None)

    def _good(self, revision: int) -> Load:
        load = self._load(revision)
        if load is None or not load.can_return:
            raise StudioError(f"the code of revision {revision} is not kept", "only good ones are, the latest of them")
        return load

    async def set_input(self, text: str) -> None:
        """Take frames from elsewhere: as ``--input``.

        Raises:
            SourceNotFound: there is no such thing. StudioError: it cannot be opened.
        """
        source = resolve_input(text, self.settings.project)
        await self._post_stream(self._ready_host(), source, self.settings.route)
        self._source = source
        self.settings = replace(self.settings, input=text)

    async def set_route(self, route: RouteName) -> None:
        """Have frames go by a local relay ("trickle") or not; the stream begins again.

        Raises:
            HostError: there is no host. StudioError: the stream cannot be begun that way; it is over then.
        """
        await self._post_stream(self._ready_host(), self._source, route)
        self.settings = replace(self.settings, route=route)
        self._history.update(route=route)
        self._publish()

    async def set_paused(self, paused: bool) -> None:
        """Hold the source, or let it go on."""
        answer = await self._ready_host().post("/api/stream/pause", {"paused": paused})
        self.paused = bool(answer["paused"])
        self._publish()

    def _ready_host(self) -> Host:
        if self._host is None or self._host.exited.is_set():
            raise HostError("the runner host is not running", "reload to start it again")
        return self._host

    # ---- stream ----------------------------------------------------------------------------

    async def _begin_stream(self) -> None:
        """A source that cannot be opened ends the stream, not the session: it shows in the snapshot."""
        host = self._ready_host()
        try:
            await self._post_stream(host, self._source, self.settings.route)
        except HostError:
            raise
        except StudioError as error:
            self._tell(StreamEnded(error=str(error), error_kind="source"))

    async def _stream_when_served(self, host: Host) -> None:
        """Try the source while the pipeline loads, since an invalid one is not worth a whole load; then start it."""
        try:
            await host.post("/api/stream/check", {"source": self._source})
            await self._served.wait()
            await self._begin_stream()
        except StudioError as error:
            if not host.exited.is_set():  # `_follow` reports that
                self._tell(StreamEnded(error=str(error), error_kind="source"))

    async def _post_stream(self, host: Host, source: str, route: RouteName) -> None:
        settings = self.settings
        body = {
            "protocol": "route" if route == "trickle" else "local",
            "source": source,
            "sink": settings.output,
            "policy": "lossless" if settings.lossless else "newest",
            "paced": settings.paced,
            "loop": settings.loop,
            "max_frames": settings.frames,
            "max_seconds": settings.duration_s,
        }
        await host.post("/api/stream", body)

    # ---- events ----------------------------------------------------------------------------

    async def _follow(self, host: Host) -> None:
        async for event in host.events():
            if host is not self._host:
                return  # it died, and another one has been started since
            self._tell(event)
            if isinstance(event, LoadSucceeded):
                self._served.set()
        await host.exited.wait()
        if host is self._host and not self._closing:
            self._history.host_died(f"the runner host {host.exit_reason}")
            self._publish()
            self._ended.set()

    def _tell(self, event: Event) -> None:
        self._history.add(event)
        match event:
            case TapOpened(side=side, ring=ring):
                (self.input_tap if side == "input" else self.output_tap).open(ring)
            case StreamEnded():
                self._ended.set()
            case _:
                self._tell_reload(event)
        for listener in self._listeners:
            listener(event)
        self._publish()

    def _tell_reload(self, event: Event) -> None:
        """What watcher and revisions must know of a load."""
        match event:
            case LoadStarted(revision=revision):
                self._loading, self._load_began = revision, event.at
                if self._watcher is not None:
                    self._watcher.load_began()
            case SourcesChanged(files=files):
                self._imported = files
                if self._watcher is not None:
                    self._watcher.watch_files([Path(file) for file in files], self._load_began)
            case LoadFailed() | LoadSucceeded() | LoadSuperseded():
                self._load_ended(event)

    def _load_ended(self, event: LoadFailed | LoadSucceeded | LoadSuperseded) -> None:
        if isinstance(event, LoadFailed):
            self._revisions.forget_data(event.revision)  # it may have served, until its new code was taken back
        elif isinstance(event, LoadSucceeded) and self.settings.watch:
            self._spawn(self._remember_data(event))
        if self._watcher is None:
            return
        if event.revision == self._loading:
            self._loading = None
            self._watcher.load_ended(failed=isinstance(event, LoadFailed))
        if not isinstance(event, LoadSuperseded):
            unknown = isinstance(event, LoadFailed) and event.serving is None
            self._watcher.watch_project(unknown, self._load_began)

    async def _remember_data(self, event: LoadSucceeded) -> None:
        restored = self._load(event.restores) if event.restores is not None else None
        changed = await self._revisions.remember_data(event.revision, restored)
        if changed:
            more = f" and {len(changed) - DATA_FILES_NAMED} more" if len(changed) > DATA_FILES_NAMED else ""
            named = ", ".join(changed[:DATA_FILES_NAMED])
            self._history.notice(f"read from disk as they are now: {named}{more}")
            self._publish()

    def _hear_host(self, line: str) -> None:
        self._tell(LogWritten(level="INFO", source="host", message=line))

    async def _watch(self, watcher: Watcher) -> None:
        async for files in watcher:
            saved_ago_s = max(0.0, time.time() - max((_saved_at(file) for file in files), default=time.time()))
            reason = (
                f"saved {', '.join(sorted(file.name for file in files))}"
                if len(files) <= 3
                else (f"saved {len(files)} files")
            )
            names = sorted(str(file) for file in files)
            body = {"reason": reason, "files": names, "saved_ago_s": min(saved_ago_s, 60), "level": "auto"}
            host = self._host
            if host is None or host.exited.is_set():
                continue
            try:
                await host.post("/api/reload", body)
            except StudioError as error:
                self._history.notice(f"reload failed: {error}")
                self._publish()


def _saved_at(file: Path) -> float:
    """When a file was saved; now, if it is gone or its time says nothing of this save."""
    now = time.time()
    try:
        saved_at = file.stat().st_mtime
    except OSError:
        return now
    return saved_at if now - 5.0 < saved_at <= now else now


def _check_import_paths(settings: Settings) -> None:
    from runner.errors import ImportPathError
    from runner.import_path import split_import_path

    for path in filter(None, (settings.pipeline_import, settings.params_import)):
        try:
            split_import_path(path)
        except ImportPathError as error:
            raise UsageError(str(error), "for example my_pipeline.pipeline:MyPipeline") from error
