"""The terminal driver, made to outlive its terminal.

Textual writes from a thread behind a bounded queue. When the terminal goes away (its window is closed),
that thread would die of an OSError, the queue would fill up, and the app would block for ever on its
next write: neither SIGHUP nor anything else could end it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App


class LastingFile:
    """A terminal to write to. Once it is gone, writing does nothing; `on_gone` is called one time, in the writer."""

    def __init__(self, file: IO[str], on_gone: Callable[[], None]) -> None:
        self._file = file
        self._on_gone = on_gone
        self._gone = False

    def write(self, text: str) -> int:
        self._attempt(lambda: self._file.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._file.flush)

    def fileno(self) -> int:
        return self._file.fileno()

    def _attempt(self, action: Callable[[], Any]) -> None:
        if self._gone:
            return
        try:
            action()
        except OSError:
            self._gone = True
            self._on_gone()


class StudioDriver(LinuxDriver):
    """Textual's driver for Linux and macOS, whose app ends when the terminal is gone."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._closed = False
        self._file: Any = LastingFile(self._file, self._leave)

    def start_application_mode(self) -> None:
        """Take the terminal, unless the app is on its way out.

        Textual takes it again at SIGCONT, which a terminal also sends when it hangs up. What that starts, nobody stops.
        """
        if not self._closed and not self._app._exit:
            super().start_application_mode()  # type: ignore[no-untyped-call]

    def suspend_application_mode(self) -> None:
        """Give the terminal back until the app is resumed."""
        self.stop_application_mode()
        super().close()

    def close(self) -> None:
        """Give the terminal back for good."""
        self._closed = True
        self.disable_input()
        super().close()

    def _leave(self) -> None:
        """Called in the writer's thread."""
        self._loop.call_soon_threadsafe(self._app.exit, None, 1)
