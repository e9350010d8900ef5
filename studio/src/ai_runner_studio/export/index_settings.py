"""Prints the package indexes of a pip.conf as shell commands that set uv's variables. It runs inside the build, in the
image's own Python: the standard library alone.
"""

from __future__ import annotations

import configparser
import shlex
import sys

# Later sections override earlier ones, as for `pip install`.
_SECTIONS = ("global", "install")
_VARIABLES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "trusted-host": "UV_INSECURE_HOST"}


def exports(text: str) -> str:
    """Return one `export` line for each setting of the file; a value of several lines is one list."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    options: dict[str, str] = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            options.update((_normalized(name), value) for name, value in parser.items(section))
    values = {variable: " ".join(options.get(name, "").split()) for name, variable in _VARIABLES.items()}
    return "".join(f"export {variable}={shlex.quote(value)}\n" for variable, value in values.items() if value)


def _normalized(name: str) -> str:
    """The option's name as pip compares it."""
    return name.lower().replace("_", "-").removeprefix("--")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(exports(file.read()))
