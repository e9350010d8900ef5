"""Signals that raise where the code is, and what must be whole all the same."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from ai_runner_studio.cli.signals import run_until_signal
from ai_runner_studio.interruption import ENDING_SIGNALS, Interrupted, interruptible, scratch_folder, uninterrupted

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


class TestInterruptible:
    @pytest.mark.parametrize("number", ENDING_SIGNALS)
    def test_a_signal_raises_with_the_shells_exit_code(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        with pytest.raises(Interrupted) as raised, interruptible():
            signal.raise_signal(number)
        assert raised.value.exit_code == 128 + number
        assert signal.getsignal(number) is before

    def test_it_holds_again_after_a_loop_that_was_run_meanwhile(self) -> None:
        def work() -> None:
            run_until_signal(asyncio.sleep(0))
            signal.raise_signal(signal.SIGTERM)

        with pytest.raises(Interrupted), interruptible():
            work()


class TestUninterrupted:
    def test_what_is_in_it_ends_first(self) -> None:
        done = []

        def work() -> None:
            with uninterrupted():
                with uninterrupted():
                    signal.raise_signal(signal.SIGTERM)
                    done.append("inner")
                done.append("outer")
            done.append("not reached")

        with pytest.raises(Interrupted), interruptible():
            work()
        assert done == ["inner", "outer"]

    def test_what_comes_after_it_raises_where_it_comes(self) -> None:
        done = []

        def work() -> None:
            with uninterrupted():
                done.append("in it")
            signal.raise_signal(signal.SIGTERM)
            done.append("not reached")

        with pytest.raises(Interrupted), interruptible():
            work()
        assert done == ["in it"]


class TestScratchFolder:
    def test_is_there_and_gone_with_what_is_in_it(self, tmp_path: Path) -> None:
        with scratch_folder("some-", tmp_path) as folder:
            assert folder.parent == tmp_path
            assert folder.name.startswith("some-")
            (folder / "file").touch()
        assert list(tmp_path.iterdir()) == []

    def test_at_whatever_moment_a_signal_comes_nothing_is_left(self, tmp_path: Path) -> None:
        dice, main = random.Random(1), threading.main_thread().ident
        assert main is not None
        interrupted = 0
        for _ in range(300):
            shot = threading.Timer(dice.uniform(0, 0.001), signal.pthread_kill, (main, signal.SIGTERM))
            try:
                with interruptible():
                    shot.start()
                    while shot.is_alive():
                        with scratch_folder("some-", tmp_path) as folder:
                            (folder / "file").touch()
                    signal.sigpending()  # a place for what has come at the very end to raise
            except Interrupted:
                interrupted += 1
            shot.join()
            assert list(tmp_path.iterdir()) == []
        assert interrupted == 300
