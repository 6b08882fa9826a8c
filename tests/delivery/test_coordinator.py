"""Every order of events: the protocol's rules hold, and every closed epoch gets done."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.errors import InternalError
from arrowstream.runtime.coordinator import Coordinator
from arrowstream.runtime.events import (
    Abort,
    CollectGarbage,
    CutEpoch,
    Done,
    EndOutbox,
    EpochClosed,
    Failed,
    OutboxReady,
    PlanWritten,
    Prepared,
    Publish,
    Published,
    StateWritten,
    Tick,
    WriteDone,
    WritePlan,
    WritePrepare,
    WriteState,
)


def coordinator(*, sinks=2, done=0, every_s=None):
    return Coordinator(sinks=sinks, done=done, every_s=every_s, begun_s=0.0)


def answers(instruction, sinks):
    """What happens when an instruction has been carried out."""
    match instruction:
        case EndOutbox(epoch):
            return [OutboxReady(epoch, sink) for sink in range(sinks)]
        case WritePlan(epoch):
            return [PlanWritten(epoch)]
        case WriteState(epoch):
            return [StateWritten(epoch)]
        case WritePrepare(epoch):
            return [Prepared(epoch)]
        case Publish(epoch, sink):
            return [Published(epoch, sink)]
        case WriteDone(epoch):
            return [Done(epoch)]
    return []


def check_rules(log):
    """The invariants, over the whole history of events and instructions."""
    position = {entry: index for index, entry in enumerate(log)}
    assert len(position) == len(log), "nothing is instructed or happens twice"
    for entry, index in position.items():
        match entry:
            case WritePrepare(epoch):
                assert position[PlanWritten(epoch)] < index
                assert position[StateWritten(epoch)] < index
                assert epoch == 1 or position[Done(epoch - 1)] < index, "one epoch is prepared at a time"
            case Publish(epoch, _):
                assert position[Prepared(epoch)] < index
            case CollectGarbage(epoch):
                assert position[Done(epoch)] < index
            case EpochClosed(epoch):
                assert epoch < 3 or position[Done(epoch - 2)] < index, "at most one epoch ahead"


@settings(deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 5))
def test_any_order_of_events_keeps_the_rules_and_gets_everything_done(data, sinks, epochs):
    machine = coordinator(sinks=sinks)
    pending, log = [], []
    while machine.done < epochs:
        choices = list(pending)
        if machine.closed < epochs and machine.may_compute:
            choices.append(EpochClosed(machine.closed + 1, machine.closed + 1 == epochs, 0.0))
        event = data.draw(st.sampled_from(choices))
        if event in pending:
            pending.remove(event)
        instructions = machine.handle(event)
        log += [event, *instructions]
        pending += [answer for instruction in instructions for answer in answers(instruction, sinks)]
    assert pending == []
    assert machine.settled
    assert machine.ended
    check_rules(log)


@settings(deadline=None)
@given(st.data(), st.integers(0, 30))
def test_after_a_failure_nothing_is_instructed(data, healthy):
    machine, pending = coordinator(), []
    for _ in range(healthy):
        choices = list(pending)
        if machine.may_compute:
            choices.append(EpochClosed(machine.closed + 1, final=False, now_s=0.0))
        event = data.draw(st.sampled_from(choices))
        if event in pending:
            pending.remove(event)
        pending += [after for done in machine.handle(event) for after in answers(done, 2)]
    error = OSError("disk")
    assert machine.handle(Failed(error)) == [Abort(error)]
    for event in [*pending, Tick(1e9), Failed(OSError("again"))]:
        assert machine.handle(event) == []
    assert machine.failure is error


def test_one_epoch_step_by_step():
    machine = coordinator()
    assert machine.handle(EpochClosed(1, final=False, now_s=1.0)) == [
        EndOutbox(1),
        WritePlan(1),
        WriteState(1),
    ]
    assert machine.handle(OutboxReady(1, 1)) == []
    assert machine.handle(StateWritten(1)) == []
    assert machine.handle(PlanWritten(1)) == []
    assert machine.handle(OutboxReady(1, 0)) == [WritePrepare(1)]
    assert machine.handle(Prepared(1)) == [Publish(1, 0), Publish(1, 1)]
    assert machine.handle(Published(1, 1)) == []
    assert machine.handle(Published(1, 0)) == [WriteDone(1)]
    assert not machine.settled
    assert machine.handle(Done(1)) == [CollectGarbage(1)]
    assert machine.settled


def test_it_goes_on_after_the_epoch_that_was_recovered():
    machine = coordinator(done=7)
    with pytest.raises(InternalError, match="epoch 7 was closed out of turn: 7 is the last one done"):
        machine.handle(EpochClosed(7, final=False, now_s=0.0))
    assert machine.handle(EpochClosed(8, final=False, now_s=0.0))[0] == EndOutbox(8)


def test_a_third_epoch_must_wait():
    machine = coordinator()
    machine.handle(EpochClosed(1, final=False, now_s=0.0))
    assert machine.may_compute
    machine.handle(EpochClosed(2, final=False, now_s=0.0))
    assert not machine.may_compute
    with pytest.raises(InternalError, match="epoch 3 was closed out of turn"):
        machine.handle(EpochClosed(3, final=False, now_s=0.0))


def test_nothing_follows_the_final_epoch():
    machine = coordinator()
    machine.handle(EpochClosed(1, final=True, now_s=0.0))
    with pytest.raises(InternalError, match="out of turn"):
        machine.handle(EpochClosed(2, final=False, now_s=0.0))


def test_an_event_of_an_epoch_that_is_not_open_is_a_bug():
    with pytest.raises(InternalError, match="an epoch that is not open"):
        coordinator().handle(PlanWritten(3))


def test_time_cuts_epochs_once_and_from_their_beginning():
    machine = coordinator(sinks=1, every_s=5.0)
    assert machine.handle(Tick(4.9)) == []
    assert machine.handle(Tick(5.0)) == [CutEpoch()]
    assert machine.handle(Tick(6.0)) == []
    machine.handle(EpochClosed(1, final=False, now_s=7.0))
    assert not machine.cut_due
    for event in (OutboxReady(1, 0), PlanWritten(1), StateWritten(1), Prepared(1), Published(1, 0), Done(1)):
        machine.handle(event)
    assert machine.handle(Tick(11.9)) == []
    assert machine.handle(Tick(12.0)) == [CutEpoch()]


def test_while_an_epoch_is_not_done_the_next_one_grows():
    machine = coordinator(sinks=1, every_s=5.0)
    machine.handle(EpochClosed(1, final=False, now_s=0.0))
    assert machine.handle(Tick(100.0)) == []


def test_without_a_duration_time_cuts_nothing():
    assert coordinator().handle(Tick(1e9)) == []
