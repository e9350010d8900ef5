"""FrameRing and Segment, within one process and across two."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from runner.live.process.ring import FrameRing, TapWriter, slot_bytes_for
from runner.live.process.segment import Segment
from runner.live.trickle import RawFrame

_WRITE_FOREVER = """
from fractions import Fraction
import itertools
import numpy as np
from runner.live.process.ring import TapWriter
from runner.live.trickle import RawFrame
writer = TapWriter()
for seq in itertools.count():
    writer.write(RawFrame(np.full((240, 320, 3), seq % 256, np.uint8), seq, Fraction(1, 30), seq))
    if seq == 0:
        print(writer.ring.name, flush=True)
"""


def frame(seq: int, width: int = 64, height: int = 48) -> RawFrame:
    rng = np.random.default_rng(seq)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    return RawFrame(pixels, seq * 3000 - 7, Fraction(1, 90000), seq, {"captured": 10 + seq, "queued": 20 + seq})


class TestRoundTrip:
    def test_a_frame_comes_back_with_its_header(self) -> None:
        ring = FrameRing.create(2, 64, 48)
        ring.write(1, frame(5))
        reader = FrameRing.attach(ring.name)
        got = reader.read(1)
        assert np.array_equal(got.pixels, frame(5).pixels)
        assert (got.pts, got.time_base, got.seq) == (14993, Fraction(1, 90000), 5)
        assert got.stamps == {"captured": 15, "queued": 25}
        assert not got.is_loading_frame
        ring.close()

    def test_readers_cannot_write(self) -> None:
        ring = FrameRing.create(1, 64, 48)
        ring.write(0, frame(1))
        with pytest.raises(ValueError, match="read-only"):
            FrameRing.attach(ring.name).read(0).pixels[0, 0, 0] = 1
        ring.close()

    def test_smaller_pictures_fit_and_larger_do_not(self) -> None:
        ring = FrameRing.create(1, 640, 360)
        assert ring.fits(320, 200)
        assert not ring.fits(1280, 720)
        assert slot_bytes_for(640, 360) % 4096 == 0
        ring.close()

    def test_another_file_is_refused(self) -> None:
        segment = Segment.create(8192)
        with pytest.raises(ValueError, match="not a frame ring"):
            FrameRing.attach(segment.name)
        segment.close()


class TestTap:
    def test_it_sees_only_the_newest_and_each_only_once(self) -> None:
        writer = TapWriter()
        assert writer.write(frame(0))
        tap = FrameRing.attach(writer.ring.name)  # type: ignore[union-attr]
        for seq in range(1, 6):
            assert not writer.write(frame(seq))
        number, got = tap.tap() or (0, frame(99))
        assert got.seq == 5
        assert np.array_equal(got.pixels, frame(5).pixels)
        assert tap.tap(number) is None
        writer.close()

    def test_it_does_not_trust_a_slot_that_is_being_written(self) -> None:
        ring = FrameRing.create(1, 64, 48)
        ring.write(0, frame(1))
        tap = FrameRing.attach(ring.name)
        ring.open_slot(0)
        assert tap.tap() is None
        ring.commit(0, frame(2), 64, 48)
        found = tap.tap()
        assert found is not None
        assert found[1].seq == 2
        ring.close()

    def test_the_newest_frame_can_be_read_while_the_next_one_is_written(self) -> None:
        writer = TapWriter()
        for seq in range(5):
            writer.write(frame(seq))
            assert writer.ring is not None
            writer.ring.open_slot(writer._next)
            found = FrameRing.attach(writer.ring.name).tap()
            assert found is not None
            assert found[1].seq == seq
        writer.close()

    def test_larger_pictures_make_a_new_ring(self) -> None:
        writer = TapWriter()
        writer.write(frame(0, 64, 48))
        first = writer.ring
        assert writer.write(frame(1, 128, 96))
        assert writer.ring is not first
        writer.close()

    def test_no_torn_picture_under_a_fast_writer(self) -> None:
        """Every tapped picture is of one number throughout, while another process writes at full speed."""
        writer = subprocess.Popen([sys.executable, "-c", _WRITE_FOREVER], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        try:
            tap = FrameRing.attach(writer.stdout.readline().strip())
            seen = after = 0
            while seen < 300:
                found = tap.tap(after)
                if found is not None:
                    after, got = found
                    assert (got.pixels == got.seq % 256).all()
                    seen += 1
            tap.close()
        finally:
            writer.kill()
            writer.communicate()


class TestSegment:
    def test_it_has_no_name_in_any_file_system(self) -> None:
        def named() -> set[str]:
            return {name for name in os.listdir("/dev/shm") if "ai-runner" in name}

        before = named()
        segment = Segment.create(4096)
        assert named() == before
        assert segment.name.startswith(f"/proc/{os.getpid()}/fd/")
        segment.close()

    def test_it_is_gone_for_newcomers_once_closed(self) -> None:
        segment = Segment.create(4096)
        segment.close()
        segment.close()
        with pytest.raises(OSError, match="No such file"):
            Segment.attach(segment.name)

    def test_without_memfd_it_is_a_file_that_its_owner_removes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "memfd_create")
        segment = Segment.create(4096)
        assert os.path.exists(segment.name)
        other = Segment.attach(segment.name, writable=True)
        other.memory[0] = 7
        assert segment.memory[0] == 7
        segment.close()
        assert not os.path.exists(segment.name)

    def test_that_file_is_private_to_the_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "memfd_create")
        segment = Segment.create(4096)
        try:
            assert stat.S_IMODE(os.stat(segment.name).st_mode) == 0o600
        finally:
            segment.close()

    @pytest.mark.parametrize("memfd", [True, False])
    def test_one_that_cannot_be_made_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memfd: bool
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        if not memfd:
            monkeypatch.delattr(os, "memfd_create")
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(ValueError, match="empty"):
            Segment.create(0)
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert list(tmp_path.iterdir()) == []
