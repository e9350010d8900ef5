"""Verify: starts an image as an orchestrator would, streams through it, stops it, and compares with this machine."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runner.testing.probe_report import ProbeReport

from ..errors import EngineError
from .bill_of_materials import READ_MATERIALS, Materials
from .container import STOP_GRACE_S, Container, Ended, container, unique_name
from .local_run import PROBE_LIMIT_S, LocalRun, Trial
from .runtime import ContainerRequest, Layer, Runtime
from .verification import Check, Figures, LayerSize, Verification, cause_of

FEWER_ALLOWED = 0.2  # of the pictures that the local run gave back: both run on a machine that does other things too
DIFFERENCE_ALLOWED = 0.04  # of the range, in the median: encoded twice, a picture differs by less than 0.01
_CLIP = "/verify/clip"
_MATERIALS_LIMIT_S = 120.0
_LOG_LINES = 40
_PORT = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is verified.

    Attributes:
        image: its id. tags: its names.
        models: folder of the models here, mounted read-only; None for an empty one.
        models_dir: where the image expects it.
        gpu: index of the GPU that it gets, None for none.
    """

    image: str
    tags: tuple[str, ...] = ()
    models: Path | None = None
    models_dir: str = "/models"
    gpu: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it."""

    verification: Verification
    materials: Materials


class Verify:
    """One verification of one image."""

    def __init__(
        self,
        runtime: Runtime,
        subject: Subject,
        trial: Trial,
        local: LocalRun,
        show: Callable[[str], None] = lambda _doing: None,
    ) -> None:
        """`show`: is told what is done."""
        self._runtime = runtime
        self._subject = subject
        self._trial = trial
        self._local = local
        self._show = show
        self._checks: list[Check] = []

    async def run(self) -> Verified:
        """All of it. What the image does wrong is in the result.

        Raises:
            EngineError: the engine does not do what it is asked for.
        """
        request = self._request()
        self._show("starting the image as an orchestrator does")
        async with container(self._runtime, request) as running:
            self._show(f"waiting for /health, then streaming {self._trial.seconds:g} s")
            report, started_at = await self._probe(running, request), await running.started_at()
            if not report.failure and self._too_few(report):
                self._show("fewer pictures came back than here: once more, since this machine may be busy")
                again = await self._probe(running, request)
                began = {name: getattr(report, name) for name in ("health", "answers_at", "healthy_at")}
                report = replace(again, **began)
            self._show("stopping it by SIGTERM")
            alive = await running.running()
            ended = await running.stop()
            log = await running.log()
        figures = _figures(report, started_at, ended.stop_s)
        self._judge(report, figures, alive, ended)
        difference = self._compare(report)
        self._show("reading what is in it")
        materials = await self._materials()
        layers = await self._runtime.layers(self._subject.image)
        verification = Verification(
            image=self._subject.image,
            tags=self._subject.tags,
            runtime=self._runtime.name,
            source=self._trial.source,
            checks=tuple(self._checks),
            container=figures,
            local=_figures(self._local.report, self._local.started_at, self._local.stop_s),
            size_bytes=sum(layer.size_bytes for layer in layers),
            layers=named_layers(layers),
            difference=difference,
        )
        if not verification.ok:
            last, cause = tuple(log[-_LOG_LINES:]), cause_of(log)
            verification = replace(verification, log=last if cause in map(str.strip, last) else (cause, *last))
        return Verified(verification, materials)

    def _request(self) -> ContainerRequest:
        """As the orchestrator's worker starts it (contract 3.3), but with no network beside loopback."""
        models = ((self._subject.models, self._subject.models_dir),) if self._subject.models else ()
        return ContainerRequest(
            image=self._subject.image,
            name=unique_name(),
            network="none",
            environment={"PIPELINE": "live-video-to-video", "MODEL_ID": self._trial.model_id},
            mounts=models,
            gpu=self._subject.gpu,
        )

    async def _probe(self, running: Container, request: ContainerRequest) -> ProbeReport:
        """What an orchestrator and a gateway see, from a second container in the same network."""
        clip = Path(self._trial.source)
        mounted = clip.is_file()
        arguments = self._trial.arguments(f"http://127.0.0.1:{_PORT}", _CLIP + clip.suffix if mounted else None)
        probing = replace(
            request,
            mounts=((clip.resolve(), _CLIP + clip.suffix),) if mounted else (),
            environment={},
            entrypoint="python3",
            command=("-m", "runner.testing.probe", *arguments),
            gpu=None,
        )
        answer = await running.companion(probing, PROBE_LIMIT_S, codes=(0, 1))
        try:
            return ProbeReport.from_json(answer)
        except ValueError as error:
            raise EngineError(
                f"the image's own runner.testing.probe did not report: {answer.strip()[:200]!r}",
                hint="the image must have the ai-runner-base that this studio belongs to",
            ) from error

    # ---- judging -----------------------------------------------------------------------------

    def _judge(self, report: ProbeReport, figures: Figures, alive: bool, ended: Ended) -> None:
        words = " > ".join(word for word, _ in report.health) or "no answer"
        if figures.healthy_s is not None:
            words += f"; IDLE after {figures.healthy_s:.1f} s"
        self._check("health", report.healthy_at is not None, words if report.healthy_at else report.failure)
        if report.healthy_at is None:
            self._check("running", alive, "it runs" if alive else "the container has ended by itself")
        else:
            self._judge_answers(report)
            self._judge_stream(report)
        said = f"exit code {ended.exit_code} after {ended.stop_s:.1f} s (allowed: 0, within {STOP_GRACE_S} s)"
        self._check("end", alive and ended.exit_code == 0, said if alive else f"it was gone before: {said}")

    def _judge_answers(self, report: ProbeReport) -> None:
        listening = {True: "on every address", False: "on loopback alone: no orchestrator reaches it; set HOST=0.0.0.0"}
        if report.listens_on_all is not None:
            self._check("port", report.listens_on_all, f"{_PORT} is open {listening[report.listens_on_all]}")
        told = (report.version or {}).get("model_id"), (report.hardware or {}).get("model_id")
        said = f"/version and /hardware/info tell the model id {told[0]!r}, {len(self._gpus(report))} GPUs"
        self._check("answers", told == (self._trial.model_id, self._trial.model_id), said)
        if self._subject.gpu is not None:
            self._check("gpu", bool(self._gpus(report)), f"{', '.join(self._gpus(report)) or 'the image sees none'}")

    @staticmethod
    def _gpus(report: ProbeReport) -> list[str]:
        return [str(gpu.get("name")) for gpu in ((report.hardware or {}).get("gpu_info") or {}).values()]

    def _judge_stream(self, report: ProbeReport) -> None:
        here = self._local.report
        said = f"{report.returned} of {report.sent} pictures came back ({here.returned} of {here.sent} here)"
        self._check("stream", not report.failure and report.returned > 0, report.failure or said)
        if report.failure:
            return
        self._check("pictures", not self._too_few(report), said)
        if self._trial.change is not None:
            taken = f"{json.dumps(self._trial.change)} " + ("is in force" if report.params_taken else "was refused")
            self._check("params", bool(report.params_taken), "; ".join([taken, *report.errors[-1:]]))
        self._check("errors", not report.errors, report.errors[-1] if report.errors else "none were told")

    def _too_few(self, report: ProbeReport) -> bool:
        """Whether a smaller share of the pictures came back than on this machine, beyond what chance does."""
        here = self._local.report
        share, share_here = report.returned / max(1, report.sent), here.returned / max(1, here.sent)
        return share < share_here * (1 - FEWER_ALLOWED)

    def _compare(self, report: ProbeReport) -> float | None:
        """Difference of the pictures that both runs gave back with the same params; None if there are none."""
        pairs = [
            (bytes.fromhex(report.pictures[pts]), bytes.fromhex(here))
            for pts, here in self._local.report.pictures.items()
            if pts in report.pictures and self._settled(report, int(pts))
        ]
        if not pairs:
            return None
        means = [statistics.fmean(abs(a - b) for a, b in zip(one, two, strict=True)) / 255 for one, two in pairs]
        difference = statistics.median(means)
        said = f"{len(pairs)} compared, they differ by {difference:.4f} of the range (allowed: {DIFFERENCE_ALLOWED})"
        self._check("same", difference <= DIFFERENCE_ALLOWED, said)
        return difference

    def _settled(self, report: ProbeReport, pts: int) -> bool:
        """Whether the same params were in force for this picture in both runs."""
        both = (report, self._local.report)
        if all(one.changed_at_pts is None for one in both):
            return True
        before = all(pts <= (one.changed_at_pts or 0) for one in both)
        return before or all(one.effective_at_pts is not None and pts > one.effective_at_pts for one in both)

    def _check(self, name: str, ok: bool, said: str) -> None:
        self._checks.append(Check(name, ok, said))

    # ---- contents ----------------------------------------------------------------------------

    async def _materials(self) -> Materials:
        reading = ContainerRequest(
            image=self._subject.image,
            name=unique_name(),
            network="none",
            entrypoint="python3",
            command=("-c", READ_MATERIALS),
        )
        command = self._runtime.run_command(reading, detached=False)
        try:
            answer = await self._runtime.call(*command[len(self._runtime.program) :], limit_s=_MATERIALS_LIMIT_S)
        except BaseException:
            await asyncio.shield(Container(self._runtime, reading, reading.name).remove())
            raise
        return Materials.from_json(answer)


def _figures(report: ProbeReport, started_at: float, stop_s: float) -> Figures:
    return Figures(
        answers_s=report.answers_at - started_at if report.answers_at else None,
        healthy_s=report.healthy_at - started_at if report.healthy_at else None,
        stream_start_s=report.started_s,
        first_picture_s=report.first_picture_s,
        sent=report.sent,
        returned=report.returned,
        fps=report.fps,
        latency_ms=report.latency_ms,
        stop_s=stop_s,
    )


def named_layers(history: list[Layer]) -> tuple[LayerSize, ...]:
    """Layers by what they hold: those before the Dockerfile's own first line are the base's."""
    sizes: dict[str, int] = {}
    name = "base"
    for line in history:
        if "VIRTUAL_ENV=/opt/venv" in line.created_by:
            name = "environment"
        elif name != "base" and "apt-get install" in line.created_by:
            name = "system packages"
        elif found := re.search(r"req/\d+-([\w-]+)\.txt", line.created_by):
            name = found[1]
        sizes[name] = sizes.get(name, 0) + line.size_bytes
    return tuple(LayerSize(name, size) for name, size in sizes.items())


def gpu_of_this_machine() -> int | None:
    """Index of the first NVIDIA GPU; None where there is none."""
    return 0 if Path("/dev/nvidia0").exists() else None
