"""The command palette: everything the studio can do, by name, with a sentence each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from .app import StudioApp

# name, sentence, action, "app" or "main" for where the action lives
COMMANDS = (
    ("Reload the pipeline", "Load it anew now, as if a file had been saved", "reload", "main"),
    ("Reload in a fresh process", "Also where the code would fit into the running one", "reload_whole", "main"),
    ("Force into the running process", "Without proof that the new code takes effect", "reload_forced", "main"),
    ("Back to the last good revision", "Run the good revision before the one that serves", "go_back", "main"),
    ("Show differences", "What is on disk now, against what serves", "differences", "main"),
    ("Weights kept or not", "Put changed code into the running process, or start a fresh one", "keep_weights", "main"),
    ("Standby on or off", "Keep a process ready that has done the imports, or do not", "standby", "main"),
    ("Pause or resume", "Hold the input, or let it go on", "pause", "main"),
    ("Open an input", "Another file, camera, pattern, URL or sample, while the pipeline goes on", "open_input", "main"),
    ("Trickle route on or off", "Take frames by a local relay, there and back, as in production", "route", "main"),
    ("Export an image", "Plan, build and verify the production image of this pipeline", "export_image", "main"),
    ("Next preview mode", "Draw the pictures by kitty graphics, sixel, half-blocks or text", "preview_mode", "main"),
    ("Bigger pictures", "Give the pictures a row more", "grow(1)", "main"),
    ("Smaller pictures", "Give the panes below a row more", "grow(-1)", "main"),
    ("Edit parameters", "Put the keyboard into the form of parameters", "enter_pane", "main"),
    ("Reset parameters", "Give every parameter its default", "reset_params", "app"),
    ("Show the log", "What the pipeline prints and logs", "pane('log')", "main"),
    ("Show reloads", "Every load of the pipeline, and what each step of it took", "pane('reloads')", "main"),
    ("Show metrics", "Time per stage, drops by reason, memory", "pane('metrics')", "main"),
    ("Show the error", "The latest error with its full traceback", "error_detail", "main"),
    ("Dark or light", "Switch between the two themes", "toggle_theme", "app"),
    ("Save a screenshot", "The screen as an SVG file in the working directory", "screenshot", "app"),
    ("Help", "Keys, and what the words mean", "help", "app"),
    ("Quit", "End the pipeline and leave", "quit", "app"),
)


class StudioCommands(Provider):
    """Offers `COMMANDS`, all of them before anything is typed."""

    async def discover(self) -> Hits:
        for name, help_text, run in self._commands():
            yield DiscoveryHit(name, run, help=help_text)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for name, help_text, run in self._commands():
            score = max(matcher.match(name), matcher.match(help_text) * 0.5)
            if score > 0:
                yield Hit(score, matcher.highlight(name), run, help=help_text)

    def _commands(self) -> Iterator[tuple[str, str, Callable[[], Awaitable[bool]]]]:
        for name, help_text, action, place in COMMANDS:
            app = cast("StudioApp", self.app)
            node: DOMNode = app.main if place == "main" else app
            yield name, help_text, partial(self.app.run_action, action, node)
