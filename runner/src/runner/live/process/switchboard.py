"""Switchboard: which revision gets the inputs, and whose outputs are passed on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque

from ..trickle.frame import RawFrame
from .loss_counter import LossCounter
from .outputs import FrameRate, Outputs
from .revision import Revision

# A replacement is shown these inputs first: with the one before the newest, code that looks back at it runs in full.
RECENT_INPUTS = 2
PROOF_AGAIN_S = 0.2  # a replacement that is idle is shown the newest input again
_PROOF_LOOK_S = 0.005


class Switchboard:
    """Frames of one stream after the other, to and from whichever process serves.

    Attributes:
        serving: the revision whose outputs are passed on, None while there is none.
        candidate: one that is being loaded; it is shown the inputs too once its pipeline is ready.
        outputs: what comes out, whichever process it is from.
        inputs: rate and count of this stream's video frames.
        losses: counts the frames that a reload loses.
        request_id: of the stream, None between streams. lossless: every frame of it counts.
        paused: the source is held.
        reloading: the serving pipeline reloads itself for its params and takes no frames.
        last_input_s: presentation time of the newest input, -inf before the first.
    """

    def __init__(self) -> None:
        self.serving: Revision | None = None
        self.candidate: Revision | None = None
        self.losses = LossCounter()
        self.outputs = Outputs(self.losses.add_output)
        self.inputs = FrameRate()
        self.request_id: str | None = None
        self.lossless = False
        self.paused = False
        self.reloading = False
        self.last_input_s = float("-inf")
        self._recent: deque[RawFrame] = deque(maxlen=RECENT_INPUTS)
        self._dropped: Counter[str] = Counter()  # inputs of this stream that did not reach a pipeline

    # ---- streams ---------------------------------------------------------------------------

    def open_stream(self, request_id: str, *, lossless: bool) -> None:
        """A stream begins: frames of this request follow. Counts begin anew."""
        self.request_id, self.lossless = request_id, lossless
        self.last_input_s = float("-inf")
        self._recent.clear()
        self.inputs, self._dropped = FrameRate(), Counter()
        self.outputs.begin()
        self.losses.reset()
        for revision in (self.serving, self.candidate):
            if revision is not None and revision.process.loaded is not None:
                revision.last_output_s = float("-inf")
                revision.process.dropped.clear()
                revision.process.open_stream(request_id)

    def close_stream(self) -> None:
        """The stream is over: what is still in the pipeline is not wanted."""
        self.request_id, self.lossless = None, False
        self._recent.clear()
        self.outputs.clear()
        self.losses.reset()
        if self.serving is not None:
            self.serving.process.open_stream("")

    # ---- frames ----------------------------------------------------------------------------

    def offer(self, frame: RawFrame) -> bool:
        """Give a frame to the pipeline, newest-frame policy. False while none serves (the frame is dropped)."""
        assert self.request_id is not None, "no stream is open"
        self.inputs.tick()
        self.losses.add_input(frame)
        self.last_input_s = frame.time_s
        self._recent.append(frame)
        for beside in (self.candidate, self.outputs.retiring):
            # The replacement has to prove itself; the replaced one may need more frames to give its last ones back.
            if beside is not None and beside.process.loaded is not None:
                self._show(beside, frame)
        if self.serving is None or self.reloading:
            self._dropped["loading"] += 1
            return False
        self.serving.process.offer(frame, self.request_id)
        return True

    async def send(self, frame: RawFrame) -> None:
        """Give a frame to the pipeline that serves, waiting until it can take it.

        Raises:
            ProcessError: it ended before it could take the frame.
        """
        assert self.request_id is not None, "no stream is open"
        assert self.serving is not None, "no pipeline serves"
        await self.serving.process.send(frame, self.request_id)
        self.inputs.tick()
        self.losses.add_input(frame)
        self.last_input_s = frame.time_s

    def take_output(self, revision: Revision, frame: RawFrame, request_id: str) -> None:
        """An output of any process of ours: pass it on, or not."""
        revision.last_output_s = max(revision.last_output_s, frame.time_s)
        if request_id != self.request_id:
            self._dropped["other stream"] += revision is self.serving
            frame.release()
        else:
            self.outputs.route(revision, frame)

    def drop(self, reason: str) -> None:
        """An input has come to nothing."""
        self._dropped[reason] += 1

    def drops(self) -> Counter[str]:
        """All drops of this stream by reason, those in front of the process included."""
        return self._dropped + self.outputs.dropped + (self.serving.process.dropped if self.serving else Counter())

    # ---- proving and switching -------------------------------------------------------------

    @property
    def provable(self) -> bool:
        """Whether there is a frame to show a replacement. Where every frame counts, none is shown twice."""
        return bool(self._recent) and not self.lossless

    async def show_recent(self, revision: Revision) -> None:
        """Show it the most recent inputs, then the newest again and again while it has nothing to do.

        Runs until it is cancelled: frames that come are offered to it too, but the source may be held.
        """
        frames = deque(self._recent)
        while True:
            process = revision.process
            if process.idle and not process.waiting and self.request_id is not None and self._recent:
                frame = frames.popleft() if frames else self._recent[-1]
                if not frames or frame.time_s > revision.last_shown_s:
                    self._show(revision, frame)
            await asyncio.sleep(_PROOF_LOOK_S if frames else PROOF_AGAIN_S)

    def _show(self, revision: Revision, frame: RawFrame) -> None:
        assert self.request_id is not None
        revision.last_shown_s = frame.time_s
        if self.serving is not None:  # so that it need not starve to learn the same
            revision.process.expect_window(self.serving.process.window)
        revision.process.offer(frame, self.request_id)

    def show_again(self) -> None:
        """While the source is held: the newest input once more, so that what has changed is seen."""
        if self.paused and self.serving is not None and self._recent and self.request_id is not None:
            self.outputs.rewind()
            self.serving.process.offer(self._recent[-1], self.request_id)

    def switch(self, revision: Revision) -> Revision | None:
        """Between two input frames: this revision gets all inputs from now on. The one before, if any."""
        old, self.serving = self.serving, revision
        self.candidate = None
        self.reloading = False
        self.outputs.switch(revision, old, self.last_input_s)
        self.losses.switch(revision.loss)
        revision.process.dropped.clear()  # what it missed of the frames it was only shown
        self._keep_drops(old)
        return old

    def rename(self, revision: Revision) -> None:
        """The serving process has other code by now, and counts as this revision."""
        assert self.serving is not None
        revision.last_output_s = self.serving.last_output_s
        self.serving = revision
        self.outputs.rename(revision)

    def vacate(self) -> Revision | None:
        """Nothing gets inputs from now on; who did, and may still owe outputs."""
        old, self.serving = self.serving, None
        self.outputs.switch(None, old, self.last_input_s)
        self._keep_drops(old)
        return old

    def _keep_drops(self, old: Revision | None) -> None:
        if old is not None:
            self._dropped += old.process.dropped
            old.process.dropped.clear()

    def lose(self) -> None:
        """The serving process has ended by itself."""
        if self.serving is not None:
            self._dropped += self.serving.process.dropped
            self.losses.start(time.monotonic())  # for the load that will follow
        self.serving = None
