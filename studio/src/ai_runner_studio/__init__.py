"""AI Runner Studio: run a live video pipeline, see it in the terminal, reload it on save."""

__version__ = "0.1.0"
