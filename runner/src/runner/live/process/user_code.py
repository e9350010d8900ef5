"""UserCode: keeps exceptions of user code apart from the end of the runtime's own tasks."""

from __future__ import annotations

import asyncio
from types import TracebackType

from ..report import EscapedException


class UserCode:
    """Context manager for calls of the pipeline: whatever these raise comes out as an `Exception`.

    `CancelledError`, `SystemExit` and the like come out as an `EscapedException`: a task of the pipeline that was
    cancelled and is awaited, or a library that exits, is a failure of one call, and does not end the runtime's task.

    Attributes:
        ending: the process ends and has cancelled its tasks: from now on a `CancelledError` is not the pipeline's.
    """

    def __init__(self) -> None:
        self.ending = False

    def __enter__(self) -> None:
        """There is nothing to prepare."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):
            return
        if self.ending and isinstance(error, asyncio.CancelledError):
            return
        raise EscapedException from error
