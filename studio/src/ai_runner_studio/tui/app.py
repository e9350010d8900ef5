"""StudioApp: the terminal program. It puts screens together and knows no details of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver

from runner.live.plain_json import visible

from ..preview import kitty
from ..preview.terminal import Terminal, probe
from .cells import ControlFilter
from .commands import StudioCommands
from .screens.main import MainScreen
from .screens.too_small import LEAST_HEIGHT, LEAST_WIDTH, TooSmall
from .themes import DARK, LIGHT, theme_name

if TYPE_CHECKING:
    from textual.filter import LineFilter

    from ..errors import StudioError
    from ..preview.terminal import DrawMode
    from ..session import Session

EXIT_INTERRUPTED = 130


class StudioApp(App[None]):
    """Shows one started `Session` until the user leaves; the caller closes the session.

    `return_code` is 0 after ``q``, 130 after Ctrl-C, 1 if the session had ended on its own.

    Attributes:
        session: what is shown, as its settings say (theme, preview).
        terminal: what this terminal can do; None asks it before the app takes it.
        clock: seconds since the epoch, for stopwatches.
    """

    TITLE = "AI Runner Studio"
    CSS_PATH = "studio.tcss"
    COMMANDS: ClassVar[set[Any]] = {StudioCommands}
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "toggle_theme", "Theme", tooltip="Dark or light"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "interrupt", "Quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, priority=True),
    ]

    def __init__(
        self,
        session: Session,
        *,
        terminal: Terminal | None = None,
        clock: Callable[[], float] = time.time,
        on_leave: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_leave`: called when the app begins to exit."""
        super().__init__(driver_class=_driver_class())
        self.session = session
        self.clock = clock
        self._on_leave = on_leave
        self.main = MainScreen()
        self._terminal = terminal
        self._control_filter = ControlFilter()
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        name = theme_name(session.settings.theme)
        self.theme = name if name in self.available_themes else DARK.name

    @property
    def terminal(self) -> Terminal:
        return self._terminal or Terminal()

    @property
    def draw_mode(self) -> DrawMode:
        """How pictures are drawn at first."""
        return "text" if self.no_color else self.terminal.choose(self.session.settings.preview)

    @property
    def pipeline_name(self) -> str:
        return self.session.settings.pipeline_import

    async def run_async(self, **options: Any) -> None:
        """Ask the terminal what it can do while it is still ours, then run."""
        if self._terminal is None and not options.get("headless", False):
            self._terminal = probe()
        try:
            return await super().run_async(**options)
        finally:
            kitty.sweep()

    def get_default_screen(self) -> MainScreen:
        return self.main

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What the studio's own themes define and Textual's do not."""
        return {"picture": "#0e1014"}

    def check_size(self) -> None:
        """Put up the notice while there is not enough room, and take it down again."""
        small = self.size.width < LEAST_WIDTH or self.size.height < LEAST_HEIGHT
        if small and not isinstance(self.screen, TooSmall):
            self.push_screen(TooSmall())
        elif not small and isinstance(self.screen, TooSmall):
            self.pop_screen()

    @on(Driver.SignalResume)
    def _draw_again(self) -> None:
        """Whatever the shell has shown since Ctrl-Z, the alternate screen is empty now."""
        self.refresh(layout=True)

    def post_display_hook(self) -> None:
        self.main.after_display()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._control_filter]

    def notify(self, message: str, **options: Any) -> None:
        super().notify(visible(message), **options)

    def show_error(self, error: StudioError, title: str) -> None:
        """A message that something asked for was not done."""
        text = f"{error}\n{error.hint}" if error.hint else str(error)
        self.notify(text, title=title, severity="error", timeout=8, markup=False)

    def action_toggle_theme(self) -> None:
        self.theme = LIGHT.name if self.current_theme.dark else DARK.name

    def action_help(self) -> None:
        from .screens.help import HelpScreen

        self.push_screen(HelpScreen())

    def action_reset_params(self) -> None:
        self.main.params.action_reset()

    def exit(self, *arguments: Any, **options: Any) -> None:
        """Begin to exit, from whatever cause."""
        self._on_leave()
        super().exit(*arguments, **options)

    async def action_quit(self) -> None:
        self.exit(return_code=1 if self.session.snapshot.phase == "ended" else 0)

    def action_interrupt(self) -> None:
        self.exit(return_code=EXIT_INTERRUPTED)


def _driver_class() -> type[Driver] | None:
    """Our driver where there are terminals as on Unix; None leaves the choice to Textual."""
    if os.name != "posix":
        return None
    from .driver import StudioDriver

    return StudioDriver
