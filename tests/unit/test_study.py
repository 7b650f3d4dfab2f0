"""A study as it is made: which pictures, which trials, a page that gives nothing away; and what its server lets in."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import raters
from limner.core.errors import InputError
from limner.data.prepare import prepare
from limner.evaluation.human import plan as planning
from limner.evaluation.human import records, server
from limner.evaluation.human.forms import FORMS, study_parts
from limner.evaluation.human.pictures import MASK_COUNT, make_masks
from limner.evaluation.human.plan import StudySettings, plan_study
from limner.evaluation.human.records import StudyKey, append_judgement, read_judgement, read_key
from limner.evaluation.human.server import StudyServer

COUNT = 4


def plan(words: Any, *, data: str | None, out: Path, **settings: Any) -> dict[str, Any]:
    return dict(plan_study(words, StudySettings(**settings), data=data, out=out))


def altered(folder: Path, name: str, noise: float, count: int = 200) -> Path:
    """An .npz of digits with noise: what a model might make."""
    digits = prepare("digits")
    rows = digits.images.gather(digits.indices("train")[:count]).astype(float)
    rows += np.random.default_rng(0).normal(0, noise, rows.shape)
    np.savez(folder / f"{name}.npz", images=rows.round().clip(0, 255).astype(np.uint8))
    return folder / f"{name}.npz"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyKey, dict[str, Any]]:
    """(folder, key, what the page holds)"""
    folder = tmp_path_factory.mktemp("study")
    few = altered(folder, "wobbly", 8)
    much = altered(folder, "stormy", 60)
    plan([few, much], data="digits", count=COUNT, out=folder / "study")
    page = (folder / "study" / "study.html").read_text()
    held = re.search(r'<script id="study" type="application/json">(.*?)</script>', page)
    assert held is not None
    return folder / "study", read_key(folder / "study"), json.loads(held[1])


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


# ---- what is shown


def test_every_form_is_balanced_and_shows_no_picture_twice(made) -> None:
    _, key, _ = made
    assert len(key.forms) == FORMS
    lefts: Counter[int] = Counter()
    for form in key.forms:
        names = [name for trial in form for name in trial.shown]
        assert len(names) == len(set(names))
        for task in ("timed", "untimed"):
            seen = [key.pictures[trial.shown[0]] for trial in form if trial.task == task]
            assert Counter(one.run for one in seen if one.kind != "noise") == {None: 2 * COUNT, 0: COUNT, 1: COUNT}
            assert sum(one.kind == "noise" for one in seen) == 4
        pairs = [[key.pictures[name] for name in trial.shown] for trial in form if trial.task == "pairs"]
        compared = [[one.run for one in pair] for pair in pairs if all(one.kind == "sample" for one in pair)]
        assert sorted(compared) == [[0, 1]] * (COUNT // 2) + [[1, 0]] * (COUNT // 2)
        caught = [[one.kind for one in pair] for pair in pairs if any(one.kind == "noise" for one in pair)]
        assert sorted(caught) == [["noise", "real"]] * 2 + [["real", "noise"]] * 2
        lefts[compared[0][0]] += 1
        assert [trial.task for trial in form] == sorted((trial.task for trial in form), key=key.tasks.index)
    assert min(lefts.values()) > FORMS / 4, "which run comes first on the left is chance"


def test_people_see_different_pictures_in_different_order(made) -> None:
    _, key, _ = made
    first, second = ([name for trial in form for name in trial.shown] for form in key.forms[:2])
    assert first != second
    assert len(set(first) - set(second)) > len(first) / 3
    shown = {name for form in key.forms for trial in form for name in trial.shown}
    assert shown == set(key.pictures), "whatever is in the page is shown to somebody"


def test_pictures_are_what_the_key_says(made) -> None:
    folder, key, held = made
    digits = prepare("digits")
    test = set(digits.indices("test").tolist())
    arrays = [np.load(folder.parent / f"{name}.npz")["images"] for name in ("wobbly", "stormy")]
    assert list(key.pictures) == held["names"]
    for name, text in zip(held["names"], held["pictures"], strict=True):
        picture = key.pictures[name]
        if picture.kind == "real":
            assert picture.number in test
            assert (pixels(text) == digits.images.gather(np.array([picture.number]))[0, ..., 0]).all()
        elif picture.run is not None:
            assert (pixels(text) == arrays[picture.run][picture.number, ..., 0]).all()
        else:
            assert pixels(text).std() > 50


def test_practice_and_examples_are_in_no_trial(made) -> None:
    _, key, held = made
    trials = {pixels(text).tobytes() for text in held["pictures"]}
    outside = [*held["examples"], *(text for tries in held["practice"].values() for shown, _ in tries for text in shown)]
    assert len(outside) == 8 + 4 + 4 + 4
    assert not any(pixels(text).tobytes() in trials for text in outside)
    assert [Counter(right for _, right in held["practice"][task]) for task in key.tasks] == [
        {"real": 2, "generated": 2},
        {"real": 2, "generated": 2},
        {"left": 1, "right": 1},
    ]


def test_the_page_gives_nothing_away(made) -> None:
    """Names and their order say nothing, files hold pixels alone, and no word of what is compared is in the page."""
    folder, key, held = made
    page = (folder / "study.html").read_text()
    assert set(held) == {"study", "exposure", "minutes", "tasks", "names", "pictures", "masks", "examples", "practice", "forms"}
    assert held["names"] == sorted(held["names"])
    assert all(isinstance(value, int) for form in held["forms"] for trial in form for value in trial)
    for told in ("wobbly", "stormy", "digits", str(folder.parent), '"sample"', '"noise"', '"seed"', '"run"'):
        assert told not in page
    kinds = [key.pictures[name].run for name in held["names"]]
    turns = sum(a != b for a, b in pairwise(kinds))
    assert turns > len(kinds) / 3, "pictures of one source do not stand together"
    for text in [*held["pictures"], *held["masks"], *held["examples"]]:
        data, place, chunks = base64.b64decode(text), 8, []
        while place < len(data):
            size, kind = struct.unpack_from(">I4s", data, place)
            chunks.append(kind)
            place += 12 + size
        assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def test_the_page_needs_no_network_and_runs_one_script(made) -> None:
    page = (made[0] / "study.html").read_text()
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy[1]
    assert re.findall(r'(?:src|href|action)="(?!data:)[^"]*"', page) == []
    assert "url(" not in page
    body = page.split("<body>")[1].split('<script id="study"')[0]
    ids = set(re.findall(r'id="(\w[\w-]*)"', body)) | {"study"}
    asked = set(re.findall(r'\$\("([\w-]+)"\)|getElementById\("([\w-]+)"\)', script[0]))
    assert {one or other for one, other in asked} <= ids
    assert re.findall(r"<img(?![^>]*alt=)", body) == [], "every picture has a text, if an empty one"


def test_the_same_seed_is_the_same_study_and_another_shows_other_pictures(made, tmp_path: Path) -> None:
    folder, key, held = made
    words = [folder.parent / "wobbly.npz", folder.parent / "stormy.npz"]
    plan(words, data="digits", count=COUNT, out=tmp_path / "again")
    for name in ("study.html", "key.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    plan(words, data="digits", count=COUNT, seed=1, out=tmp_path / "other")
    other = read_key(tmp_path / "other")
    assert other.study != key.study
    assert not set(other.pictures) & set(key.pictures)
    ours, theirs = ({p.number for p in k.pictures.values() if p.run == 0} for k in (key, other))
    assert len(ours - theirs) > 10


def test_other_pictures_or_another_exposure_are_another_study(tmp_path: Path) -> None:
    keys = []
    for noise, count, exposure in ((8, 200, 500), (8, 200, 500), (9, 200, 500), (8, 201, 500), (8, 200, 501)):
        plan([altered(tmp_path, "it", noise, count)], data="digits", count=2, exposure=exposure, out=tmp_path / str(len(keys)))
        keys.append(read_key(tmp_path / str(len(keys))))
    assert keys[0] == keys.pop(1)
    assert len({key.study for key in keys}) == 4
    assert not any(set(a.pictures) & set(b.pictures) for a, b in combinations(keys, 2)), "no form of one fits another"


def test_one_run_and_chosen_tasks(made, tmp_path: Path) -> None:
    one = made[0].parent / "wobbly.npz"
    answer = plan([one], data="digits", count=3, out=tmp_path / "one")
    assert [row["task"] for row in answer["table"]] == ["timed", "untimed"]
    assert read_key(tmp_path / "one").tasks == ["timed", "untimed"]
    answer = plan([one, made[0].parent / "stormy.npz"], data="digits", count=3, tasks=["pairs"], out=tmp_path / "pairs")
    assert answer["table"] == [{"task": "pairs", "trials": 3, "catch": 4, "practice": 2}]
    assert {trial.task for form in read_key(tmp_path / "pairs").forms for trial in form} == {"pairs"}


def test_what_a_person_sees_in_numbers() -> None:
    timed, pairs = study_parts(["timed", "pairs"], runs=3, count=10)
    assert (timed.trials, timed.reals, timed.of_each, timed.catch) == (60, 30, 10, 6)
    assert (pairs.trials, pairs.reals, pairs.of_each, pairs.catch) == (30, 4, 20, 4)


def test_a_folder_is_brought_to_the_shape_of_the_data(made, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(40):
        Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"{number}.png")
    plan([tmp_path / "pictures"], data="digits", count=2, out=tmp_path / "study")
    page = (tmp_path / "study" / "study.html").read_text()
    held = json.loads(page.split('application/json">')[1].split("</script>")[0])
    assert {pixels(text).shape for text in held["pictures"]} == {(8, 8)}


def test_masks_are_tiles_of_what_is_shown() -> None:
    shown = np.stack([np.full((13, 9, 3), value, np.uint8) for value in (10, 200)])
    found = make_masks(shown, 0)
    assert found.shape == (MASK_COUNT, 13, 9, 3)
    assert set(np.unique(found)) == {10, 200}
    assert all(len(np.unique(mask)) == 2 for mask in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count 0"),
        ({"count": 201}, "count 201"),
        ({"count": 180}, "more than 600"),
        ({"count": 45}, "too few"),
        ({"exposure": 10}, "exposure 10"),
        ({"seed": -1}, "seed -1"),
        ({"tasks": ["timd"]}, "did you mean 'timed'?"),
        ({"data": None}, "data=SRC"),
        ({"data": "scenes", "count": 2}, "already prepared"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(made, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    faint, strong = (made[0].parent / f"{name}.npz" for name in ("wobbly", "stormy"))
    if options.get("data") == "scenes":
        options["data"] = str(prepare("scenes-1", size=16, limit=60).path)
    with pytest.raises(InputError, match=re.escape(words)) as told:
        plan([faint, strong], **({"data": "digits", "count": COUNT, "out": tmp_path / "no"} | options))
    assert "\n" not in str(told.value)
    assert not (tmp_path / "no").exists()


def test_names_that_cannot_be_compared(made, tmp_path: Path) -> None:
    faint = made[0].parent / "wobbly.npz"
    for given, words in (
        ([], "nothing to rate"),
        ([faint, faint], "named twice"),
        ([tmp_path / "nothing.npz"], "no file at"),
        ([tmp_path / "nothing"], "no run at"),
    ):
        with pytest.raises(InputError, match=words):
            plan(given, data="digits", count=COUNT, out=tmp_path / "no")
    with pytest.raises(InputError, match="pairs are of two"):
        plan([faint], data="digits", tasks=["pairs"], out=tmp_path / "no")
    with pytest.raises(InputError, match="is there already"):
        plan([faint], data="digits", count=COUNT, out=made[0])
    np.savez(tmp_path / "float.npz", images=np.zeros((3, 8, 8, 1)))
    with pytest.raises(InputError, match="uint8"):
        plan([tmp_path / "float.npz"], data="digits", out=tmp_path / "no")


def test_two_of_one_name_are_told_apart_by_their_folders(made, tmp_path: Path) -> None:
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        altered(tmp_path / part, "same", 10)
    plan([tmp_path / "a" / "same.npz", tmp_path / "b" / "same.npz"], data="digits", count=2, out=tmp_path / "study")
    assert [run.name for run in read_key(tmp_path / "study").runs] == ["a/same.npz", "b/same.npz"]


def test_a_page_too_large_for_a_phone_is_refused(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_PAGE_BYTES", 1000)
    with pytest.raises(InputError, match="smaller count"):
        plan([made[0].parent / "wobbly.npz"], data="digits", count=COUNT, out=tmp_path / "no")


def test_a_damaged_key_is_said_in_one_line(made, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text((made[0] / "key.json").read_text()[:500])
    with pytest.raises(InputError, match="damaged") as told:
        read_key(tmp_path)
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="no study in"):
        read_key(tmp_path / "nowhere")


# ---- judgements


def good(key: StudyKey, trial: int = 0, **other: Any) -> dict[str, Any]:
    rater = raters.Rater((1.0,) * len(key.runs), (0.0,) * len(key.runs))
    rows = list(raters.sitting(key, rater, np.random.default_rng(0), form=2))
    return rows[trial] | other


def test_a_simulated_sitting_fits_the_key(made) -> None:
    _, key, _ = made
    for trial in range(len(key.forms[2])):
        assert key.fault(read_judgement(json.dumps(good(key, trial)))) is None


BAD: dict[str, tuple[dict[str, Any], int]] = {
    "another study": ({"study": "0" * 16}, 422),
    "no such form": ({"form": 60}, 422),
    "no such trial": ({"trial": 9999}, 422),
    "another picture": ({"shown": ["00000000"]}, 422),
    "a pair's answer": ({"answer": "tie"}, 422),
    "a timed one without its time": ({"exposure": None}, 422),
    "a path": ({"person": "../../etc/passwd"}, 400),
    "a longer name": ({"person": "a" * 17}, 400),
    "a number as text": ({"trial": "0"}, 400),
    "a negative number": ({"trial": -1}, 400),
    "a large number": ({"ms": 10**12}, 400),
    "half a millisecond": ({"ms": 0.5}, 400),
    "a word that is none": ({"answer": "perhaps"}, 400),
    "a field too many": ({"admin": True}, 400),
    "another version": ({"version": 2}, 400),
    "three pictures": ({"shown": ["00000000"] * 3}, 400),
}


@pytest.fixture
def served(made, tmp_path: Path) -> Iterator[StudyServer]:
    for name in ("key.json", "study.html"):
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    server = StudyServer(tmp_path, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_many_may_come_at_once(made, tmp_path: Path) -> None:
    """Of sixteen that came while the server was busy, one was reset: five may wait by Python's default."""
    for name in ("key.json", "study.html"):
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    server = StudyServer(tmp_path, 0)  # it accepts nothing yet
    clients: list[socket.socket] = []
    try:
        for _ in range(32):
            clients.append(socket.create_connection(("127.0.0.1", server.server_port), timeout=2))
    finally:
        for client in clients:
            client.close()
        server.server_close()


def ask(
    server: StudyServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = line.getresponse()
        return reply.status, dict(reply.headers), reply.read()
    finally:
        line.close()


def post(server: StudyServer, row: Any, **headers: str) -> tuple[int, str]:
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    status, _, told = ask(server, "POST", "/judgements", body, **({"Content_Type": "application/json"} | headers))
    return status, told.decode()


def lines(server: StudyServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.file.read_text().splitlines()] if server.file.is_file() else []


def test_the_page_is_served_and_nothing_else_is(served: StudyServer) -> None:
    status, headers, body = ask(served, "GET", "/")
    assert (status, body) == (200, served.page)
    assert headers["Content-Type"].startswith("text/html")
    assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/key.json", "/../key.json", "/answers/served.jsonl", "/study.html/..", "/%2e%2e/key.json", "/?key"):
        assert ask(served, "GET", path)[0] == 404, path
    assert ask(served, "PUT", "/judgements", b"{}")[0] == 501
    assert served.server_address[0] == "127.0.0.1"


def test_a_judgement_is_one_line(made, served: StudyServer) -> None:
    rows = [good(made[1], trial) for trial in range(3)]
    for row in rows:
        assert post(served, row, Origin=served.url.rstrip("/"))[0] == 204
    assert lines(served) == rows
    assert served.judgement_count == 3


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_judgement_is_refused(made, served: StudyServer, name: str) -> None:
    change, status = BAD[name]
    row = {field: value for field, value in (good(made[1]) | change).items() if value is not None}
    found, told = post(served, row)
    assert found == status, told
    assert set(json.loads(told)) == {"error"}
    assert lines(served) == []


def test_what_is_no_request_of_ours_is_refused(made, served: StudyServer) -> None:
    row = good(made[1])
    for body in (b"", b"{", b"[]", b"null", b'{"version": NaN}', b"\xff\xfe", b"[" * 3000):
        assert post(served, body)[0] == 400, body[:20]
    assert post(served, json.dumps(row).encode() + b" " * records.MAX_JUDGEMENT_BYTES)[0] == 413
    assert post(served, row, Content_Length="99999999999")[0] == 413
    assert post(served, row, Content_Length="-1")[0] == 411
    assert post(served, row, Content_Type="text/plain")[0] == 415
    assert post(served, row, Origin="https://example.org")[0] == 403
    assert post(served, row, Origin="null")[0] == 403
    assert post(served, row, Host="example.org")[0] == 403
    assert ask(served, "GET", "/", Host=f"rebound.example:{served.server_port}")[0] == 403
    assert ask(served, "POST", "/answers/x.jsonl", json.dumps(row).encode(), Content_Type="application/json")[0] == 404
    assert lines(served) == []
    assert post(served, row)[0] == 204, "and it still works"


def test_many_at_once_are_whole_lines(made, served: StudyServer) -> None:
    count = len(made[1].forms[2])
    rows = [good(made[1], trial % count, person=f"{trial:016x}") for trial in range(120)]
    threads = [threading.Thread(target=lambda some=rows[i::8]: [post(served, row) for row in some]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lines(served), key=lambda row: row["person"]) == rows


def test_a_full_disk_is_told_and_nothing_half_written_stays(
    made, served: StudyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert post(served, good(made[1]))[0] == 204
    before = served.file.read_bytes()
    real = os.write

    def half(handle: int, data: bytes) -> int:
        return real(handle, data[:20]) if data.startswith(b'{"version"') else real(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr(records.os, "write", half)
        assert post(served, good(made[1], 1))[0] == 507
    assert served.file.read_bytes() == before
    assert "cannot be written" in capsys.readouterr().err
    monkeypatch.setattr(server, "MAX_ANSWERS_BYTES", 10)
    assert post(served, good(made[1], 1))[0] == 507
    assert served.file.read_bytes() == before


def test_a_line_cut_off_by_a_crash_spoils_no_other(made, tmp_path: Path) -> None:
    file = tmp_path / "answers" / "served.jsonl"
    append_judgement(file, read_judgement(json.dumps(good(made[1]))))
    with file.open("ab") as handle:
        handle.write(b'{"version":1,"stu')
    append_judgement(file, read_judgement(json.dumps(good(made[1], 1))))
    found = file.read_text().splitlines()
    assert [json.loads(found[0]), json.loads(found[2])] == [good(made[1]), good(made[1], 1)]
    assert len(found) == 3


def test_a_port_that_is_taken(served: StudyServer) -> None:
    with pytest.raises(InputError, match="port"):
        StudyServer(served.file.parent.parent, served.server_port)
    with pytest.raises(InputError, match="port 70000"):
        StudyServer(served.file.parent.parent, 70_000)
