"""The two pictures side by side: what goes into the pipeline and what comes out of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content

from ...preview.blocks import Depth
from ...preview.pace import Pace
from ...preview.terminal import DrawMode, Terminal
from .line import SplitLine
from .picture import PictureView

if TYPE_CHECKING:
    from textual.driver import Driver
    from textual.timer import Timer

    from ...session import Session
    from ...snapshot import Snapshot

_LOOKS_PER_S = 60  # how often to look for something to draw
_IDLE_LOOKS_PER_S = 8  # the same while no frames come: a timer costs more than a look
_IDLE_AFTER_S = 1.0


_COLOURS: dict[Depth, str] = {"24-bit": "all colours", "few levels": "16 levels per colour", "256": "256 colours"}


class PreviewPane(Vertical):
    """A title and a picture."""

    def __init__(self, side: str, terminal: Terminal, mode: DrawMode) -> None:
        super().__init__(id=f"preview-{side}", classes="preview-pane")
        self.title_line = SplitLine(classes="pane-title")
        self.picture = PictureView(terminal, mode, id=f"{side}-picture")

    def compose(self) -> ComposeResult:
        yield self.title_line
        yield self.picture


class Previews(Horizontal):
    """Takes newest frames from the session's taps on a timer, as often as the pace allows."""

    def __init__(self, session: Session, terminal: Terminal, mode: DrawMode, fps: float) -> None:
        super().__init__(id="previews")
        self.session = session
        self.terminal = terminal
        self.mode: DrawMode = mode
        self.pace = Pace(fps, terminal.depth)
        self.input = PreviewPane("input", terminal, mode)
        self.output = PreviewPane("output", terminal, mode)
        self._timer: Timer | None = None
        self._looks_per_s = 0
        self._drawn_at = float("-inf")

    def compose(self) -> ComposeResult:
        yield self.input
        yield self.output

    def on_mount(self) -> None:
        self._look(_LOOKS_PER_S)
        if self.mode == "blocks" and self.terminal.colours == "256":
            self.notify(
                "Preview: 256 colours, because the terminal does not confirm true colour. If it has it: "
                "COLORTERM=truecolor ai-runner-studio …",
                timeout=8,
                markup=False,
            )

    def _look(self, per_s: int) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._looks_per_s = per_s
        self._timer = self.set_interval(1 / per_s, self.tick, name="preview")

    def tick(self) -> None:
        """Draw what is new, unless it is too early, a dialog lies over it, or the line is still busy."""
        now = time.monotonic()
        if self.app.screen is not self.screen or not self.pace.due(now, backlog(self.app._driver)):
            return
        if self._draw_newest():
            self._drawn_at = now
        looks_per_s = _LOOKS_PER_S if now - self._drawn_at < _IDLE_AFTER_S else _IDLE_LOOKS_PER_S
        if looks_per_s != self._looks_per_s:
            self._look(looks_per_s)

    def _draw_newest(self) -> bool:
        began = time.thread_time()
        drawn = False
        for pane, tap in ((self.input, self.session.input_tap), (self.output, self.session.output_tap)):
            frame = tap.newest()
            if frame is not None:
                pane.picture.show(frame)
                drawn = True
        if drawn:
            self.call_after_refresh(self._drawn, began)
        return drawn

    def _drawn(self, began: float) -> None:
        self.pace.drawn(time.monotonic(), time.thread_time() - began)
        self._use_depth()

    def _use_depth(self) -> None:
        """Draw in the colours that the pace allows, and say why they are fewer."""
        before, depth = self.input.picture.depth, self.pace.depth
        for pane in (self.input, self.output):
            pane.picture.set_mode(self.mode, depth)
        if depth != before and self.mode == "blocks":
            text = f"Preview: {_COLOURS[depth]}" + (f", because {self.pace.reason}" if self.pace.reason else "")
            self.notify(text, timeout=6, markup=False)

    def after_display(self) -> None:
        """To be called when Textual has updated the terminal."""
        self.input.picture.after_display()
        self.output.picture.after_display()

    def next_mode(self) -> DrawMode:
        """Go on to the next way of drawing that this terminal can do."""
        modes = self.terminal.modes()
        position = modes.index(self.mode) + 1 if self.mode in modes else 0
        self.mode = modes[position % len(modes)]
        for pane in (self.input, self.output):
            pane.picture.set_mode(self.mode, self.pace.depth)
        return self.mode

    def show_snapshot(self, snapshot: Snapshot, paused: bool) -> None:
        """Titles, and what to say where there is no picture."""
        self.input.title_line.set(*_input_title(snapshot, paused))
        self.output.title_line.set(*_output_title(snapshot))

    def say(self, *message: str) -> None:
        """What stands where the output will be until its first frame comes."""
        if self.output.picture.frame is None:
            self.output.picture.clear(*message)
        if self.input.picture.frame is None:
            self.input.picture.clear("No frame yet")

    def clear_pictures(self, *message: str) -> None:
        """Take both pictures away, for instance when another input is opened."""
        self.input.picture.clear(*message)
        self.output.picture.clear(*message)


def backlog(driver: Driver | None) -> int:
    """Writes that the terminal has not taken yet; 0 where the driver has no queue of them."""
    queue: Any = getattr(getattr(driver, "_writer_thread", None), "_queue", None)
    return 0 if queue is None else int(queue.qsize())


def _input_title(snapshot: Snapshot, paused: bool) -> tuple[Content, Content]:
    stream = snapshot.stream
    title = Content.styled("Input", "bold")
    if stream is None:
        return title, Content()
    title = Content.assemble(title, ("  ", ""), (stream.source, "$foreground 60%"))
    size = f"{stream.source_width}×{stream.source_height}"
    if (stream.source_width, stream.source_height) != (stream.width, stream.height):
        size += f" → {stream.width}×{stream.height}"
    if paused:
        return title, Content.styled("paused", "$text-warning")
    return title, Content.styled(size, "$foreground 60%")


def _output_title(snapshot: Snapshot) -> tuple[Content, Content]:
    title = Content.styled("Output", "bold")
    if snapshot.serving is not None:
        way = ", back by trickle" if snapshot.route == "trickle" else ""
        title = Content.assemble(title, (f"  revision {snapshot.serving}{way}", "$foreground 60%"))
    if snapshot.stream is not None and snapshot.stream.sink:
        return title, Content.styled(f"→ {snapshot.stream.sink}", "$foreground 60%")
    return title, Content()
