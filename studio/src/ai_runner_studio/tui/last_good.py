"""LastGood: which earlier revision one can go back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..snapshot import Load, Snapshot


def load_of(snapshot: Snapshot, revision: int | None) -> Load | None:
    """The load that made this revision, if it is still remembered."""
    return next((load for load in snapshot.loads if load.revision == revision), None)


def good_before(snapshot: Snapshot, revision: int) -> Load | None:
    """The newest revision older than `revision` that ran well and whose code is kept; None if there is none."""
    return next((load for load in reversed(snapshot.loads) if load.revision < revision and load.can_return), None)


def last_good(snapshot: Snapshot) -> Load | None:
    """Where one key leads back to: the newest revision before the one that serves that ran well, of other code.

    Where nothing serves, the newest that ran well. Once gone back, it leads further back, and not to where one
    came from: that is what is on disk.
    """
    newest = snapshot.load
    returning = newest is not None and newest.outcome == "loading" and newest.restores is not None
    now = newest if returning else load_of(snapshot, snapshot.serving)
    if now is None:
        return next((load for load in reversed(snapshot.loads) if load.can_return), None)
    number = now.revision if now.restores is None else now.restores
    sources = (load_of(snapshot, number) or now).sources
    older = (load for load in reversed(snapshot.loads) if load.revision < number and load.can_return)
    return next((load for load in older if load.sources != sources), None)
