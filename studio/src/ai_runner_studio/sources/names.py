"""Names that an input can be given by, for shell completion."""

from __future__ import annotations


def complete_input(incomplete: str) -> list[str]:
    """Samples and kinds of source that begin with what has been typed; the shell adds files by itself."""
    from .samples import sample_videos

    names = [video.name for video in sample_videos()]
    return [name for name in [*names, "pattern", "webcam"] if name.startswith(incomplete)]
