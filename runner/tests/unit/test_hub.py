"""What a listener that does not read in time gets."""

from __future__ import annotations

from runner.live.api.hub import QUEUED_LINES, QUEUED_STATES, EventHub
from runner.live.events import (
    Event,
    LoadFailed,
    LoadStarted,
    LoadStepped,
    LoadSucceeded,
    LoadSuperseded,
    LogWritten,
    MetricsTaken,
    StateChanged,
)
from runner.live.report import ErrorReport

REPORT = ErrorReport("frame", "ValueError", "wrong")


def line(number: int) -> LogWritten:
    return LogWritten(level="INFO", source="stdout", message=str(number))


async def unread(*events: Event) -> list[Event]:
    """What is read of these events after all of them have happened."""
    hub = EventHub()
    listening = hub.listen(LoadSuperseded(revision=1))
    assert (await anext(listening)).type == "LoadSuperseded"  # it listens from here on
    for event in events:
        hub.emit(event)
    hub.close()
    return [event async for event in listening]


async def test_nothing_is_lost_and_the_order_is_kept_while_there_is_room() -> None:
    events = [line(1), LoadStarted(revision=2, reason="saved"), line(2), LoadSuperseded(revision=2), MetricsTaken()]
    assert await unread(*events) == events


async def test_lines_push_out_no_load_and_their_number_is_told() -> None:
    started, failed = LoadStarted(revision=2, reason="saved"), LoadFailed(revision=2, reason="saved", report=REPORT)
    events = await unread(started, *map(line, range(160_000)), failed)
    assert events[0] == started
    assert events[-1] == failed
    [note, *lines] = [event.message for event in events[1:-1] if isinstance(event, LogWritten)]
    assert note == f"({160_000 - QUEUED_LINES:,} lines dropped: the events were not read in time)"
    assert lines == [str(number) for number in range(160_000 - QUEUED_LINES, 160_000)]


async def test_loads_push_out_no_lines_and_figures_are_the_newest() -> None:
    steps = [LoadStepped(revision=1, step=f"step {number}") for number in range(3 * QUEUED_STATES)]
    events = await unread(line(1), MetricsTaken(fps_in=1.0), *steps, line(2), MetricsTaken(fps_in=2.0))
    assert [event.message for event in events if isinstance(event, LogWritten)] == ["1", "2"]
    assert [event.fps_in for event in events if isinstance(event, MetricsTaken)] == [2.0]


async def test_whoever_misses_states_gets_how_each_load_ended_and_what_is_true_now() -> None:
    events: list[Event] = []
    for revision in range(1, 101):
        events.append(LoadStarted(revision=revision, reason="saved"))
        events += [LoadStepped(revision=revision, step=f"step {number}") for number in range(100)]
        events.append(LoadSucceeded(revision=revision, reason="saved"))
        events.append(StateChanged(state="ONLINE" if revision == 100 else "LOADING", previous=""))
    read = await unread(*events)
    assert len(read) <= QUEUED_STATES
    assert [event.revision for event in read if isinstance(event, LoadSucceeded)] == list(range(1, 101))
    assert [event.state for event in read if isinstance(event, StateChanged)][-1] == "ONLINE"
    assert read[-1] == events[-1]
