"""A guardian with real revisions whose processes are not launched: frames for one stay in its ring."""

from __future__ import annotations

from typing import Any

from runner.live.events import Event
from runner.live.pipelines import PipelineSpec
from runner.live.process.guardian import ProcessGuardian
from runner.live.process.policy import PRODUCTION, RestartPolicy
from runner.live.process.process import PipelineProcess
from runner.live.process.revision import LoadRequest, Revision

from ..conftest import raw_frame


class GuardianRun:
    """A guardian that was not started, and what it has emitted.

    Attributes:
        released: numbers of the outputs whose memory was released, in that order.
    """

    def __init__(self, policy: RestartPolicy = PRODUCTION, **initial_params: Any) -> None:
        self.events: list[Event] = []
        self.released: list[int] = []
        self._spec = PipelineSpec(pipeline_cls="nowhere:Nothing", initial_params=initial_params)
        self.guardian = ProcessGuardian(self._spec, policy, self.events.append)
        self.board = self.guardian.board
        self._processes: list[PipelineProcess] = []

    def revision(self, number: int) -> Revision:
        revision = Revision(number, LoadRequest("start"), self.guardian)
        process = PipelineProcess(self._spec, on_frame=lambda *_: None, on_message=lambda _: None)
        revision.run_in(process)
        self._processes.append(process)
        return revision

    def output(self, revision: Revision, seq: int, request_id: str = "s1") -> None:
        """An output arrives from that revision's process."""
        frame = raw_frame(seq, 4, 4)
        frame.release = lambda: self.released.append(seq)
        revision.process._on_frame(frame, request_id)

    async def passed_on(self) -> list[int]:
        outputs = self.board.outputs
        return [(await outputs.next()).seq for _ in range(outputs.waiting)]

    def close(self) -> None:
        for process in self._processes:
            process._channel.close()
            process._input.close()
