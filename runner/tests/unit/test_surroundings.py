"""What a host needs of the system it runs on, and how it reports what is missing. With small real processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

PATIENCE_S = 60.0
LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (600 << 20, -1))
from runner.live.process.exit import describe_exit
print(describe_exit(0), describe_exit(127), describe_exit(-6), sep="\\n")
"""
HIDDEN = 'mount -t tmpfs none /proc && exec "$@"'
UNSHARE = ["unshare", "--mount", "sh", "-c", HIDDEN, "sh"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def may_hide_proc() -> bool:
    try:
        return run(*UNSHARE, "true").returncode == 0
    except OSError:
        return False


def test_a_limit_of_the_address_space_is_named_with_an_exit_that_failed() -> None:
    fine, failed, aborted = run(sys.executable, "-c", LIMITED).stdout.splitlines()
    assert fine == "exited with code 0"
    assert "limited to 600 MiB" in failed
    assert "limited to 600 MiB" in aborted


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_a_host_without_proc_ends_with_the_cause() -> None:
    if not may_hide_proc():
        pytest.skip("needs unshare(1) and the right to mount")
    done = run(*UNSHARE, sys.executable, "-m", "runner.live.infer", "--http-port", "0")
    assert done.returncode == 2
    assert "/proc: not mounted" in done.stderr
    swept = "from runner.live.process.descendants import kill_run; kill_run('0123-0')"
    assert run(*UNSHARE, sys.executable, "-c", swept).returncode == 0
