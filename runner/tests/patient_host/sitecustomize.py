"""A runner host that a test starts with this folder on its path: Python imports this file at its own start.

The host has more time for what a busy machine is only slow with, and does not make a test wait for what it does every
few seconds. `process/state.py` and `protocol/burst.py` have unit tests with the values that they have in production.
"""

import os
import signal
import sys
import time


def census(*_):
    """Collect garbage, then write which tasks there are into the file that `CENSUS` names.

    What a stream leaves behind shows nowhere else.
    """
    import asyncio
    import gc

    gc.collect()
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    names = [getattr(one, "__qualname__", type(one).__name__) for one in coroutines]
    with open(os.environ["CENSUS"], "w") as file:
        file.write(",".join(sorted(names)) + "\n")


def watch_loop():
    """Report each callback that blocked the event loop for a second: by work, or by sleep while it waited for something.

    The time in which it only waited for a CPU is not counted: on a busy machine that is nobody's fault.
    """
    import asyncio
    import threading

    run, held = asyncio.Handle._run, {"now": False, "slept_s": 0.0}
    look_s = 0.02

    def measured(handle):
        worked_s = time.thread_time()
        held.update(now=True, slept_s=0.0)
        try:
            run(handle)
        finally:
            held["now"] = False
            held_s = held["slept_s"] + time.thread_time() - worked_s
            if held_s > 1.0:
                print(f"test: held up for {held_s:.1f} s by {handle!r}", file=sys.stderr, flush=True)

    def look():
        while True:
            time.sleep(look_s)
            with open(f"/proc/self/task/{os.getpid()}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
            if held["now"] and state in "SD":
                held["slept_s"] += look_s

    asyncio.Handle._run = measured
    threading.Thread(target=look, daemon=True).start()


if "runner.live.infer" in " ".join(sys.orig_argv):
    while os.path.exists("held"):  # for as long as a test wants no host
        time.sleep(0.02)
    # Not for the pipeline process: what that imports is watched as the user's code.
    folders = os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(folder for folder in folders if folder != os.path.dirname(__file__))
    from runner.live.process import guardian, state
    from runner.live.streamer import reporter
    from runner.live.streamer.protocol import burst

    burst.LENGTH_S, burst.LIMIT_S = 4.0, 60.0  # every frame of the first four seconds is processed
    state.OFFLINE_AFTER_S, guardian.TICK_S = 0.3, 0.1
    reporter.STATUS_S, reporter.STATUS_APART_S = 1.0, 0.1
    if "WATCH_LOOP" in os.environ:
        watch_loop()
    if "CENSUS" in os.environ:
        signal.signal(signal.SIGUSR2, census)
