"""``python -m runner.attach SOCKET``: the terminal's end of a `breakpoint()` in a pipeline process."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading


def main(arguments: list[str] | None = None) -> int:
    """Pass lines to the debugger and its output to the terminal; the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m runner.attach SOCKET", file=sys.stderr)
        return 2
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # lines can be edited
    with socket.socket(socket.AF_UNIX) as debugger:
        try:
            debugger.connect(given[0])
        except OSError as error:
            print(f"error: {given[0]}: {error.strerror}; the breakpoint may be over", file=sys.stderr)
            return 1
        showing = threading.Thread(target=_show, args=(debugger,), daemon=True)
        showing.start()
        with contextlib.suppress(OSError, KeyboardInterrupt):
            for line in iter(sys.stdin.readline, ""):
                debugger.sendall(line.encode())
            debugger.shutdown(socket.SHUT_WR)
            showing.join()
    return 0


def _show(debugger: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := debugger.recv(1 << 16):
            sys.stdout.write(data.decode("utf-8", "replace"))
            sys.stdout.flush()
    os._exit(0)  # the program continues; the main thread still waits for a line


if __name__ == "__main__":
    sys.exit(main())
