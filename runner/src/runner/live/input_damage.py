"""InputDamage: what of an input could not be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDamage:
    """Counts of one pass over an input.

    Attributes:
        decode_errors: packets that could not be decoded.
        corrupt: packets and frames that arrived incomplete; what could be decoded of them was used.
        missing: frames that the container promises and that did not come.
        expected: how many it promises, None if it does not say or the pass did not reach the end.
    """

    decode_errors: int = 0
    corrupt: int = 0
    missing: int = 0
    expected: int | None = None

    def __bool__(self) -> bool:
        return bool(self.decode_errors or self.corrupt or self.missing)

    def __str__(self) -> str:
        """E.g. ``41 of 100 frames are missing, 3 packets could not be decoded``."""
        counts = []
        if self.missing:
            counts.append(f"{self.missing} of {self.expected} frames {_be(self.missing)} missing")
        if self.decode_errors:
            counts.append(f"{self.decode_errors} packet{_s(self.decode_errors)} could not be decoded")
        if self.corrupt:
            counts.append(
                f"{self.corrupt} packet{_s(self.corrupt)} or frame{_s(self.corrupt)} {_be(self.corrupt)} corrupt"
            )
        return ", ".join(counts)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"
