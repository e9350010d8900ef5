"""Labels of processes: whom they mark, and who is killed by them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from runner.live.process.descendants import LABEL_ENV, kill_run, new_run

LABELLED = """
import os, sys, time
from runner.live.process.descendants import label_this_process
label_this_process()
pid = os.fork()
if pid:
    print(os.getpid(), pid, flush=True)
time.sleep(600)
"""


@contextmanager
def started(code: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def label_of(pid: int) -> str:
    return str(psutil.Process(pid).environ().get(LABEL_ENV, ""))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems show the environment as it was at the start")
def test_a_label_is_seen_of_a_process_and_of_what_it_forks() -> None:
    run = new_run()
    with started(LABELLED, {LABEL_ENV: run}) as process:
        assert process.stdout is not None
        own, forked = map(int, process.stdout.readline().split())
        assert label_of(own) == label_of(forked) == f"{run.partition('-')[0]}-{own:010}"
        kill_run(run)
        process.wait(60)
        psutil.wait_procs([psutil.Process(forked)] if psutil.pid_exists(forked) else [], timeout=60)


@pytest.mark.parametrize("label", ["", "another-0000000000"])
def test_processes_of_no_run_and_of_another_run_go_on(label: str) -> None:
    wait = "import time; print('there', flush=True); time.sleep(600)"
    with started(wait, {LABEL_ENV: label}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for run in (new_run(), ""):
            kill_run(run)
        assert process.poll() is None


def test_the_tracker_of_multiprocessing_ends_by_itself() -> None:
    run = new_run()
    tracker = "import time; print('there', flush=True); time.sleep(600)  # multiprocessing.resource_tracker"
    with started(tracker, {LABEL_ENV: run}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        kill_run(run)
        assert process.poll() is None
