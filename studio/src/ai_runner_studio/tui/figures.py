"""Figures as text, always of the same width for the same kind, so that nothing jumps."""

from __future__ import annotations

_SPARKS = "▁▂▃▄▅▆▇█"


def milliseconds(value: float) -> str:
    """``0.42``, ``12.3``, ``123`` or ``4560``."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def seconds(value: float) -> str:
    """``42 ms``, ``1.3 s`` or ``2:05``."""
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    return clock(value)


def clock(value: float) -> str:
    """``0:07`` or ``1:02:03``."""
    minutes, second = divmod(int(value), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def memory(value: int) -> str:
    """``412 MB`` or ``3.2 GB``."""
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def count(number: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def sparkline(values: list[float], width: int, ceiling: float = 0.0) -> str:
    """The last `width` values as a line of bars between zero and their largest (or `ceiling`, if larger)."""
    shown = values[-width:]
    top = max([ceiling, *shown]) or 1.0
    return "".join(_SPARKS[min(7, round(7 * max(0.0, value) / top))] for value in shown).rjust(width)


def bar(share: float, width: int) -> str:
    """A bar of `width` cells, filled to `share` (0-1), to an eighth of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width)
