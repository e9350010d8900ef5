"""``ai-runner-studio`` and ``python -m ai_runner_studio``: the command line's edge, where errors become exit codes."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    import signal

    from .standard_streams import open_closed_streams

    open_closed_streams()
    # Until a command takes Ctrl-C over, there is nothing to clean up, and Python's own way is a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; the exit code (0 done, 1 failed, 2 wrong use, 128 + N ended by signal N)."""
    import os

    try:
        return _run(arguments)
    except BrokenPipeError:
        # Whoever read us has gone (`| head`): nothing is left to say, and Python's last flush must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    from typer.main import get_command

    from .cli import failure
    from .cli.app import build
    from .errors import StudioError
    from .interruption import Interrupted

    try:
        from .terminal_text import guard_standard_streams

        guard_standard_streams()
        get_command(build())(arguments, prog_name="ai-runner-studio")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    except Interrupted as error:
        return error.exit_code
    except KeyboardInterrupt:
        return failure.INTERRUPTED
    except StudioError as error:
        failure.show_studio_error(error)
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:  # the outermost edge: whatever it is, the user gets a sentence and a log file
        failure.show_unexpected(error, verbose=bool({"-v", "--verbose"} & set(arguments)))
        return failure.FAILED
    finally:
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    import os

    # `python -m` puts the current folder first: a runner.py there would be taken for the runtime's package.
    sys.path.sort(key=lambda place: os.path.abspath(place) == os.getcwd())
    main()
