"""The screens: main, and those that open over it."""
