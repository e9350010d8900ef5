"""LoopGuard: breaks the circle of a pipeline that writes a watched file whenever it is loaded.

Such a change comes while the pipeline is loaded, each time, and always as long after the load's beginning. A person
or a tool that saves often does the first two for a while, but not the third: what this guard can be wrong about is
only held back until the file is left alone. Pure logic; times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median

AFTER_S = 0.1  # events travel; what the old process writes in its `stop` comes before the end of the load
HELD_FROM = 3  # changes in a row, each in the load that the one before caused
LET_GO_FROM = 8
# One after the other: without a change for so long. They differ, so that someone who saves in a steady rhythm is moved
# against the loads, and the pipeline is not. The rounds after these wait until all is at rest, if it was written at the
# same moment of each load so far: a load begun then, by nobody's save, in which it is written once more is the proof.
HOLDS_S = (0.5, 1.0, 2.0)
HELD_ROUNDS = LET_GO_FROM - HELD_FROM
STEADY_S = (0.4, 1.0)  # spread of the moments of writing in the last loads: at least, and at most, taken as the same
STEADY_SHARE = 0.1
REST_S = 2.0  # without a change, and without a load
WITHOUT_REST_S = 5.0


@dataclass(slots=True)
class _Suspect:
    """A file that changes while the pipeline is loaded.

    Attributes:
        load: in which load that was last. offsets: how long after the beginning of each load.
        held_since: since when a change is held back, None if none is. changed_at: when it last changed.
        let_go: it is not followed.
        restless_said, let_go_said: the user has been told.
    """

    load: int = 0
    offsets: list[float] = field(default_factory=list)
    held_since: float | None = None
    changed_at: float = 0.0
    let_go: bool = False
    restless_said: bool = False
    let_go_said: bool = False

    def due(self, load_ended: float | None) -> float:
        """When a held change is to be reported. `load_ended`: None while a load is under way."""
        held_round = (len(self.offsets) - HELD_FROM) % HELD_ROUNDS
        if held_round < len(HOLDS_S) or not self.is_steady():
            return self.changed_at + HOLDS_S[held_round % len(HOLDS_S)]
        return inf if load_ended is None else max(self.changed_at, load_ended) + REST_S

    def is_steady(self) -> bool:
        """Whether it is written at the same moment of each load."""
        last = self.offsets[-HELD_ROUNDS - 1 :]
        least, most = STEADY_S
        return max(last) - min(last) <= min(max(least, STEADY_SHARE * median(last)), most)


class LoopGuard:
    """Sorts changes into those to report now, later, and not at all."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        """`notice`: gets a sentence for the user when a file is held back for long, or not followed any more."""
        self._notice = notice
        self._suspects: dict[Path, _Suspect] = {}
        self._loads = 0
        self._began = 0.0
        self._ended: float | None = -inf  # None: a load is under way

    def load_began(self, now: float) -> None:
        """The pipeline is being loaded."""
        self._loads += 1
        self._began, self._ended = now, None

    def load_ended(self, now: float) -> None:
        """The load begun last is over."""
        self._ended = now

    def follow_again(self) -> None:
        """Follow all files again; one that the next load writes as before is let go at once."""
        for suspect in self._suspects.values():
            _try_again(suspect)

    def sift(self, changed: Iterable[Path], now: float) -> set[Path]:
        """Those of the changes, seen at `now`, that are to be reported at once."""
        return {path for path in sorted(changed) if self._is_clear(path, now)}

    def held(self) -> set[Path]:
        """Files whose changes are not reported for the moment, or at all."""
        return {path for path, it in self._suspects.items() if it.let_go or it.held_since is not None}

    def next_due(self) -> float | None:
        """When `due` may have something to give; None: not before another change."""
        due = min((it.due(self._ended) for it in self._held().values()), default=inf)
        return None if due == inf else due

    def due(self, now: float) -> set[Path]:
        """Held files that have been left alone for long enough. They are to be reported now."""
        return self._release(path for path, it in self._held().items() if now >= it.due(self._ended))

    def release(self) -> set[Path]:
        """Held files, because others are reported: a load takes all files as they are then."""
        return self._release(self._held())

    def _held(self) -> dict[Path, _Suspect]:
        return {path: it for path, it in self._suspects.items() if it.held_since is not None}

    def _release(self, paths: Iterable[Path]) -> set[Path]:
        found = set(paths)
        for path in found:
            self._suspects[path].held_since = None
            _try_again(self._suspects[path])
        return found

    def _is_clear(self, path: Path, now: float) -> bool:
        if self._ended is None or now <= self._ended + AFTER_S:
            return self._is_clear_in_load(self._suspects.setdefault(path, _Suspect()), path, now)
        suspect = self._suspects.get(path)
        if suspect is None:
            return True
        rested = now - suspect.changed_at >= REST_S
        if suspect.held_since is not None or (suspect.let_go and not rested):
            del suspect.offsets[HELD_FROM:]  # this time it was no load that made the change
            self._hold(path, suspect, now)
            return False
        if suspect.let_go:
            _try_again(suspect)
        else:
            del self._suspects[path]
        return True

    def _is_clear_in_load(self, suspect: _Suspect, path: Path, now: float) -> bool:
        if suspect.load != self._loads:
            suspect.load = self._loads
            suspect.offsets.append(now - self._began)
        suspect.changed_at = now
        if suspect.let_go:
            return False
        if len(suspect.offsets) < HELD_FROM:
            return True
        if len(suspect.offsets) >= LET_GO_FROM and suspect.is_steady():
            self._let_go(path, suspect)
        else:
            self._hold(path, suspect, now)
        return False

    def _hold(self, path: Path, suspect: _Suspect, now: float) -> None:
        suspect.changed_at = now
        if suspect.held_since is None:
            suspect.held_since = now
        if now - suspect.held_since >= WITHOUT_REST_S and not suspect.restless_said:
            suspect.restless_said = True
            self._notice(
                f"{path.name} is written all the time (by the pipeline itself?): "
                "it is followed when it has been left alone for a while"
            )

    def _let_go(self, path: Path, suspect: _Suspect) -> None:
        suspect.let_go, suspect.held_since = True, None
        if not suspect.let_go_said:
            suspect.let_go_said = True
            self._notice(
                f"{path.name} is written anew each time the pipeline is loaded (by the pipeline itself?): "
                "saves of it are not followed until it is saved at rest"
            )


def _try_again(suspect: _Suspect) -> None:
    """Follow a file, one load short of letting it go."""
    if suspect.let_go:
        suspect.let_go = False
        suspect.offsets = suspect.offsets[1 - LET_GO_FROM :]
