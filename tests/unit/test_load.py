"""Other programs on the same cores: said only where a load was measured, with the setting that helps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import limner
from limner.core.load import competing_load, competition_note, fewer_threads
from limner.core.progress import Progress
from limner.training.slowdown import Slowdown

SMALL = (
    *("score.points=0", "previews.every=1", "previews.count=4", "batch.size=16"),
    *("method.generator.widths=[8]", "method.discriminator.widths=[8]"),
)


def set_load(monkeypatch: pytest.MonkeyPatch, load: float, cores: int) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)


@pytest.mark.parametrize(
    ("load", "own", "cores", "threads", "others"),
    [
        (2.0, 0.0, 2, 2, 2.0),
        (2.5, 1.5, 2, 2, 1.0),
        (0.7, 0.0, 2, 2, None),  # too little to matter
        (2.0, 1.9, 2, 2, None),  # its own
        (4.0, 0.0, 16, 8, None),  # there is room for all
        (4.0, 0.0, 16, 16, 4.0),
    ],
)
def test_a_load_competes_where_the_cores_are_too_few(
    load: float, own: float, cores: int, threads: int, others: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_load(monkeypatch, load, cores)
    assert competing_load(threads, own) == others
    assert bool(competition_note(threads, own)) == (others is not None)


def test_the_note_names_the_threads_for_which_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    set_load(monkeypatch, 2.0, 2)
    assert competition_note(2, 0.0) == (
        "other programs keep about 2 of this machine's 2 cores busy, and 2 threads that wait for each other then train several "
        "times slower: start with OMP_NUM_THREADS=1 while they run"
    )
    assert competition_note(1, 0.0) == "", "one thread waits for no other"
    set_load(monkeypatch, 4.0, 16)
    assert [fewer_threads(others) for others in (0.8, 4.0, 4.6, 40.0)] == [15, 12, 11, 1]


def test_nothing_is_said_where_the_system_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)  # as on Windows
    assert competition_note(2, 0.0) == ""


def test_a_slowdown_by_three_is_said_once_where_a_load_explains_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_load(monkeypatch, 3.0, 2)
    watch, images, notes = Slowdown(2, seconds=0.0, images=0), 0, dict[float, str]()

    def train(begin: int, end: int, speed: int) -> None:
        nonlocal images
        for second in range(begin, end):
            images += speed
            if text := watch.note(second + 1.0, images):
                notes[second + 1.0] = text

    train(0, 20, 90)
    train(20, 40, 31)  # not quite three times slower
    assert notes == {}
    watch.restart(60.0, images)  # a score of 20 s
    train(60, 70, 90)
    set_load(monkeypatch, 0.5, 2)
    train(70, 80, 10)  # slow, but not by other programs
    assert notes == {}
    set_load(monkeypatch, 3.0, 2)
    train(80, 120, 10)
    assert list(notes) == [90.0]
    assert notes[90.0].startswith("9 times slower than before: other programs keep about 3 of this machine's 2 cores busy")


def test_training_says_at_its_start_that_others_use_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.training.slowdown.own_load", lambda: 0.0)
    monkeypatch.setattr("limner.training.slowdown.torch.get_num_threads", lambda: 2)
    for load, count in ((2.0, 1), (0.0, 0)):
        set_load(monkeypatch, load, 2)
        events: list[Progress] = []
        run = limner.train("digits", preset="gan", images=16, settings=SMALL, out=tmp_path, on_progress=events.append).run
        assert sum("other programs keep about 2 of" in event.note for event in events) == count
        assert (run / "log.txt").read_text().count("OMP_NUM_THREADS=1") == count


def test_the_time_left_after_a_resume_is_by_the_speed_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hours of an earlier process on a busy machine made the first lines promise 16 times too long."""
    run = limner.train("digits", preset="gan", images=160, settings=SMALL, out=tmp_path).run
    (checkpoint,) = run.glob("checkpoints/*/state.json")
    state = json.loads(checkpoint.read_text())
    checkpoint.write_text(json.dumps(state | {"seconds": 16_000.0}))
    marker = checkpoint.with_name("COMPLETE")
    digests = json.loads(marker.read_text())
    del digests["sha256"]["state.json"]
    marker.write_text(json.dumps(digests))
    events: list[Progress] = []
    monkeypatch.setattr("limner.training.logger.PROGRESS_SECONDS", 0.0)
    limner.resume(run, images=480, on_progress=events.append)
    left = [event.seconds_left for event in events if event.what == "training" and event.done]
    known = [seconds for seconds in left if seconds is not None]
    assert len(known) >= 19, "of 20 steps"
    assert max(known) < 1_000, "16,000 s for 160 images would be 32,000 s for the rest"
