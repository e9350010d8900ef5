"""The two themes: quiet surfaces, so that the pictures and what is wrong stand out."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="studio-dark",
    dark=True,
    primary="#7aa2d6",
    secondary="#8fb8a8",
    accent="#d6a96b",
    success="#7fc08a",
    warning="#d9b56a",
    error="#e0787a",
    foreground="#d5d9e0",
    background="#14171c",
    surface="#1b1f26",
    panel="#232832",
    variables={
        "footer-background": "#1b1f26",
        "footer-key-foreground": "#7aa2d6",
        "picture": "#0e1014",
        "input-selection-background": "#7aa2d6 35%",
    },
)

LIGHT = Theme(
    name="studio-light",
    dark=False,
    primary="#2f5f9e",
    secondary="#3f7a66",
    accent="#9a6414",
    success="#2e7d3c",
    warning="#96690a",
    error="#b3383d",
    foreground="#23272e",
    background="#f6f6f3",
    surface="#ecece7",
    panel="#e0e0da",
    variables={
        "footer-background": "#ecece7",
        "footer-key-foreground": "#2f5f9e",
        "picture": "#d9d9d3",
        "input-selection-background": "#2f5f9e 25%",
    },
)


def theme_name(asked: str) -> str:
    """Name of the theme for the setting `asked`: ``dark``, ``light``, one of Textual's, or "" for dark."""
    return {"": DARK.name, "dark": DARK.name, "light": LIGHT.name}.get(asked, asked)
