# SPDX-License-Identifier: Apache-2.0
"""Processes meet by files, and at the coordinator's door: threads stand in for them, with short beats."""

import dataclasses
import json
import socket
import threading
import time

import pytest

from ssl_jax.parallel import meeting as meetings
from ssl_jax.parallel.door import Door, call, trouble
from ssl_jax.parallel.meeting import Meeting
from ssl_jax.parallel.notes import Note, Seat, difference, read
from ssl_jax.types import Failure, Told, UserError

FACTS = {"versions": {"jax": "0.10.2"}, "recipe": {"optim": {"peak_lr": 1e-3}}, "corpus": "c0ffee"}
BEAT, SETTLED = 0.02, 0.4


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


class Group:
    """Processes as threads.  Afterwards: the exit status of each, what they printed, who was waited for."""

    def __init__(self, folder, seconds=60.0, settle=20.0):
        self.folder, self.seconds, self.settle = folder / "run" / ".meeting", seconds, settle
        self.status, self.complaints, self.said = {}, [], []

    def meeting(self, process, count, coordinator=None, folder=None):
        return Meeting(
            folder or self.folder,
            Seat(process, count, coordinator),
            seconds=self.seconds,
            say=lambda text: self.said.append((process, text)),
            complain=lambda text: self.complaints.append((process, text)),
            beat=BEAT,
            settle=self.settle,
        )

    def start(self, process, count, facts=FACTS, after=0.0, wrong=None, make=None, **kwargs):
        def go():
            time.sleep(after)
            try:
                with (make or self.meeting)(process, count, **kwargs) as meeting:
                    if wrong is not None:
                        raise wrong
                    meeting.attend(facts)
                self.status[process] = 0
            except Told as told:
                self.status[process] = told.status
            except ValueError:
                self.status[process] = "unforeseen"

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        return thread

    def run(self, *processes):
        threads = [self.start(*args, **kwargs) for args, kwargs in processes]
        for thread in threads:
            thread.join(20)
        return self.status


def one(process, count=3, **kwargs):
    return (process, count), kwargs


@pytest.fixture
def group(tmp_path):
    return Group(tmp_path)


def test_all_go_on_once_the_last_one_has_come(group, port):
    here = f"localhost:{port}"
    status = group.run(*(one(i, coordinator=here, after=0.3 * i) for i in range(3)))
    assert status == {0: 0, 1: 0, 2: 0} and not group.complaints
    group.meeting(0, 3).close()
    assert not group.folder.exists()
    Door(port, "again").close()  # the port is free for jax's own service


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"versions": {"jax": "0.9.0"}}, "versions.jax is 0.9.0 in process 2 on"),
        ({"recipe": {"optim": {"peak_lr": 2e-3}}}, "recipe.optim.peak_lr is 0.002 in process 2 on"),
        ({"corpus": "decaf"}, "corpus is decaf in process 2 on"),
    ],
)
def test_what_differs_is_said_once_and_ends_all(group, facts, line):
    status = group.run(one(0), one(1), one(2, facts={**FACTS, **facts}))
    assert status == {0: 2, 1: 2, 2: 2}
    ((speaker, said),) = group.complaints
    assert speaker == 0 and said.startswith(line)


def test_another_number_of_processes_is_a_difference(group):
    assert group.run(one(0, 2), one(1, 3)) == {0: 2, 1: 2}
    assert "was started with --num-processes 3" in group.complaints[0][1]


def test_process_0_that_dies_while_it_waits_is_missed(group, port):
    """Its door had been reached, and the others waited for ever."""
    here, group.seconds, group.settle = f"localhost:{port}", 1.5, 0.4
    leader = group.meeting(0, 3, here)
    door, beats = Door(port, leader._note.nonce), 0
    follower = group.start(1, 3, coordinator=here)
    while follower.is_alive() and beats < 20:
        leader._post()
        beats += 1
        time.sleep(BEAT)
    door.close()
    follower.join(20)
    assert group.status == {1: 1}
    assert "process 0" in group.complaints[0][1] and "didn't come within" in group.complaints[0][1]


def test_a_beat_of_thousands_of_processes_is_short_enough_to_be_heard(tmp_path):
    meeting = Meeting(tmp_path, Seat(1, 100_000), seconds=60, say=print, complain=print)
    assert meeting._beat <= 5 and meeting._settle >= 4 * meeting._beat


@pytest.mark.parametrize(("wrong", "late"), [(0, 2), (1, 0), (2, 1), (2, 2)])
def test_the_mistake_of_one_ends_all_however_late_another_comes(group, wrong, late):
    group.settle = SETTLED
    error = {"wrong": UserError("recipe.py:3: no such model")}
    processes = (
        one(i, **(error if i == wrong else {}), after=2 * SETTLED if i == late else 0) for i in range(3)
    )
    assert group.run(*processes) == {0: 2, 1: 2, 2: 2}
    ((_, said),) = group.complaints
    assert said.endswith("recipe.py:3: no such model")


def test_a_failure_ends_all_with_1_and_the_same_mistake_everywhere_is_one_line(group):
    assert group.run(*(one(i, wrong=Failure("the disk is full")) for i in range(3))) == {0: 1, 1: 1, 2: 1}
    assert group.complaints == [(0, "the disk is full")]


def test_what_nobody_foresaw_ends_all_and_goes_on_up_in_the_process_that_knows_its_traceback(group):
    assert group.run(one(0), one(1), one(2, wrong=ValueError("?"))) == {0: 1, 1: 1, 2: "unforeseen"}
    assert len(group.complaints) == 1 and group.complaints[0][1].endswith(": ValueError: ?")


@pytest.mark.parametrize("number", [0, 1])
def test_two_processes_of_one_number_are_found(group, number):
    group.seconds, group.settle = 2.0, SETTLED  # one of the two may leave before the other has heard
    threads = [group.start(i, 3) for i in (0, 1, number)]
    limit = time.monotonic() + 10
    while not ((note := read(Note, group.folder / f"{number}.json")) and note.mistake):
        assert time.monotonic() < limit, "neither found the other"
        time.sleep(BEAT)
    threads.append(group.start(2, 3))  # before it comes the others wait
    for thread in threads:
        thread.join(20)
    assert group.status == {0: 2, 1: 2, 2: 2} and not any(thread.is_alive() for thread in threads)
    assert any(f"two processes have the number {number}, on" in said for _, said in group.complaints)


def test_nothing_of_an_earlier_attempt_is_believed(group):
    """Four processes, one with a mistake; then two without, and the second comes first, and late."""
    group.run(*(one(i, 4, wrong=UserError("old") if i == 3 else None) for i in range(4)))
    assert set(group.status.values()) == {2} and (group.folder / "3.json").exists()
    again = Group(group.folder.parents[1])
    assert again.run(one(1, 2), one(0, 2, after=SETTLED)) == {0: 0, 1: 0} and not again.complaints
    again = Group(group.folder.parents[1])
    assert again.run(one(0, 2), one(1, 2, after=SETTLED)) == {0: 0, 1: 0} and not again.complaints


def test_who_is_missing_is_said_and_named_at_the_end(group, monkeypatch):
    monkeypatch.setattr(meetings, "SAY_EVERY", 0.1)
    monkeypatch.setattr(meetings, "SAY_FIRST", 0.1)
    group.seconds, group.settle = 0.6, SETTLED
    assert group.run(one(0), one(2)) == {0: 1, 2: 1}
    assert any(
        process == 0 and text.startswith("waiting for process 1 of 3 since") for process, text in group.said
    )
    assert [process for process, _ in group.complaints] == [0]
    assert group.complaints[0][1].startswith("process 1 of 3 didn't come within")

    group = Group(group.folder.parents[1], seconds=0.6, settle=SETTLED)
    assert group.run(one(1), one(2)) == {1: 1, 2: 1}  # without process 0 the first of the others speaks
    assert [process for process, _ in group.complaints] == [1]
    assert f"process 0 ({socket.gethostname()}) of 3 didn't come" in group.complaints[0][1]


def test_a_workdir_that_is_not_shared_is_found_at_the_door(group, port, tmp_path):
    group.settle, here = SETTLED, f"localhost:{port}"
    elsewhere = tmp_path / "elsewhere" / ".meeting"
    status = group.run(
        one(0, coordinator=here), one(1, coordinator=here), one(2, coordinator=here, folder=elsewhere)
    )
    assert status == {0: 2, 1: 2, 2: 2}
    ((speaker, said),) = group.complaints
    assert speaker == 0 and "process 2 on" in said and "must be a folder that all hosts share" in said


def test_a_workdir_that_one_cannot_write_is_told_at_the_door(group, port, tmp_path):
    (tmp_path / "file").touch()
    here = f"localhost:{port}"
    status = group.run(
        one(0, 2, coordinator=here), one(1, 2, coordinator=here, folder=tmp_path / "file" / "m")
    )
    assert status == {0: 2, 1: 2}
    assert len(group.complaints) == 1 and "cannot write in" in group.complaints[0][1]


def test_a_coordinator_that_one_does_not_reach_is_named(group, port, monkeypatch):
    def refused(*_):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(meetings, "call", refused)
    group.settle = SETTLED
    assert group.run(
        one(0, 2, coordinator=f"localhost:{port}"), one(1, 2, coordinator=f"localhost:{port}")
    ) == {
        0: 2,
        1: 2,
    }
    ((_, said),) = group.complaints
    assert "doesn't reach process 0 at localhost" in said and "its own loopback address" in said


def test_a_port_that_is_taken_is_named(group, port):
    with socket.socket() as taken:
        taken.bind(("", port))
        here = f"localhost:{port}"
        assert group.run(one(0, 2, coordinator=here), one(1, 2, coordinator=here)) == {0: 2, 1: 2}
    assert f"cannot listen on port {port}" in group.complaints[0][1]


@pytest.mark.parametrize(("off", "word"), [(60.0, "ahead of"), (-60.0, "behind")])
def test_a_clock_that_is_off_is_found_both_ways(group, off, word):
    """The second process lives in another time."""

    def make(*args, **kwargs):
        made = group.meeting(*args, **kwargs)
        made._clock = lambda: time.time() + off
        return made

    assert group.run(one(0, 2), one(1, 2, make=make)) == {0: 2, 1: 2}
    ((_, said),) = group.complaints
    assert "the clock of process 1" in said and f" s {word} that of" in said


def test_a_door_answers_callers_alone(port):
    at = Door(port, "mine")
    try:
        with socket.create_connection(("localhost", port)) as line:
            line.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert line.recv(100) == b""
        note = Note(1, 2, None, "host", "n")
        assert call(f"localhost:{port}", dataclasses.asdict(note)) == {"nonce": "mine", "verdict": None}
        assert at.notes() == {1: note}
    finally:
        at.close()
    assert "no host that it knows" in trouble("no.such.host.invalid:1", OSError())


def test_the_first_leaf_that_differs_is_named():
    assert difference({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": [1, 3]}}) == ("b.c", [1, 2], [1, 3])
    assert difference({"a": 1}, {"a": 1, "b": 2}) == ("b", None, 2)
    assert difference({"a": 1}, json.loads('{"a": 1}')) is None
