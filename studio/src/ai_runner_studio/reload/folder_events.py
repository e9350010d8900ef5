"""FolderEvents: wakes its reader when something happens in one of a set of folders."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

# watchfiles looks for events at every step, and gives them when a step has brought no new ones: one to two steps
# after the last, whatever the debounce, which only bounds that. Its own 50 and 1,600 ms are far above what the rest
# of a reload takes; below 5 ms, looking takes more of a core than it is worth.
STEP_MS = 5
DEBOUNCE_MS = 50


class FolderEvents:
    """Events of the file system in a fixed set of folders, not of the folders inside them.

    Nothing is heard of folders that may not be read.

    Life: `start`, then `wait` as often as wanted, then `stop`. Once `start` has returned nothing is missed.
    """

    def __init__(self, folders: Iterable[Path], look_every_s: float) -> None:
        self._folders = sorted(map(str, folders))
        self._look_every_ms = int(look_every_s * 1000)
        self._events: AsyncGenerator[set[tuple[object, str]], None] | None = None
        self._next: asyncio.Task[set[str]] | None = None

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError, RuntimeError: a folder cannot be watched (gone, no watches left).
        """
        from watchfiles import awatch

        self._events = awatch(  # type: ignore[assignment]
            *(folder for folder in self._folders if os.access(folder, os.R_OK)),
            watch_filter=None,
            step=STEP_MS,
            debounce=DEBOUNCE_MS,
            rust_timeout=self._look_every_ms,
            yield_on_timeout=True,
            recursive=False,
            # It would ignore every reason for which a folder is not watched, limits too.
            ignore_permission_denied=False,
            # Else it polls everything under WSL, where only shared folders need it.
            force_polling=None if os.environ.get("WATCHFILES_FORCE_POLLING") else False,
        )
        self._next = asyncio.create_task(self._step(), name="folder-events")
        # The watches are set in the generator's first step, before it waits.
        await asyncio.sleep(0)
        if self._next.done():
            self._next.result()

    async def _step(self) -> set[str]:
        assert self._events is not None
        try:
            return {path for _, path in await anext(self._events)}
        except Exception as error:
            raise _unwrapped(error) from None

    async def wait(self) -> set[str]:
        """Paths that something happened to; empty when nothing has for the time given, or after `stop`.

        May be cancelled and called again: what happens meanwhile is kept.

        Raises:
            OSError, RuntimeError: the watch has broken down.
        """
        step = self._next
        if step is None:
            return set()
        await asyncio.wait({step})
        if self._next is not step:  # stopped meanwhile
            return set()
        paths = step.result()
        self._next = asyncio.create_task(self._step(), name="folder-events")
        return paths

    async def stop(self) -> None:
        """End it. Safe to call twice."""
        step, self._next = self._next, None
        if step is not None:
            step.cancel()
            await asyncio.wait({step})
            if not step.cancelled():
                step.exception()  # looked at, or asyncio would complain that nobody has
        events, self._events = self._events, None
        if events is not None:
            with contextlib.suppress(RuntimeError):
                await events.aclose()


def _unwrapped(error: Exception) -> Exception:
    """What awatch has raised; what happens after its first step comes in a group of one."""
    while nested := getattr(error, "exceptions", ()):
        error = nested[0]
    return error if isinstance(error, (OSError, RuntimeError)) else RuntimeError(str(error) or repr(error))
