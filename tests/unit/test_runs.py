"""Runs by name, the list of runs, and what is done with whole runs: the trash, names, notes, other folders."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import limner
from limner.cli import main
from limner.core.errors import InputError
from limner.recipes.settings import compose
from limner.runs import moves
from limner.runs.listing import list_runs, prune
from limner.runs.lookup import find_run, run_folders
from limner.runs.moves import delete_runs, empty_trash, move_run, rename_run, restore_runs, write_note
from limner.runs.report import render_report
from limner.runs.run import Run


def make(folder: Path, name: str, *settings: str, preset: str = "gan") -> Run:
    return Run.create(folder, name, compose(preset, ["data.source=/pictures/cats", *settings]))


def save(run: Run, images: int) -> None:
    run.save(images, {name: {"w": torch.zeros(2)} for name in ("model", "ema", "optim")}, {"images": images}, run.recipe())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [2, "2", "0002", "flowers", "flow", "0002-fl", "0002-flowers", "runs/2", "runs/flowers", "runs/0002-flowers"]
)
def test_a_run_is_named_by_number_name_beginning_or_path(name: str | int, here: Path) -> None:
    for one in ("cats", "flowers", "dogs-2"):
        make(Path("runs"), one)
    assert find_run(name) == Run.open(name).path == Path("runs/0002-flowers")
    assert find_run(here / "runs" / "2").name == "0002-flowers"


def test_a_full_name_comes_before_a_number_and_that_before_a_beginning(here: Path) -> None:
    for name in ("7", "demo", "demo-2", "x"):
        make(Path("runs"), name)
    (Path("runs") / "0011-y").mkdir()
    make(Path("runs"), "z")  # 0012
    assert find_run("demo").name == "0002-demo"
    assert find_run("1").name == "0001-7", "the number, not the beginning of 0012"
    assert find_run("7").name == "0001-7", "there is no run of that number"
    with pytest.raises(InputError, match=r"no run at dem \(several begin so: 0002-demo, 0003-demo-2\); say which"):
        find_run("dem")
    with pytest.raises(InputError, match=r"no run at xx; did you mean|no run at xx; `limner runs runs`"):
        find_run("xx")
    with pytest.raises(InputError, match="did you mean '0002-demo'"):
        find_run("0002-demp")
    for name in ("", ".", "..", "x" * 300, "a\0b"):
        with pytest.raises(InputError, match="no run at"):
            find_run(name)


def test_runs_in_sub_folders_are_seen_after_those_beside(here: Path) -> None:
    make(Path("runs"), "a")
    make(Path("runs/sweep"), "a")
    make(Path("runs/sweep/deeper"), "b")
    os.symlink("..", "runs/sweep/circle")
    (Path("runs") / "0001-a" / "copy").mkdir()
    shutil.copy("runs/0001-a/recipe.yaml", "runs/0001-a/copy/recipe.yaml")
    names = [str(path) for path in run_folders(Path("runs"))]
    assert names == ["runs/0001-a", "runs/sweep/0001-a", "runs/sweep/deeper/0001-b"]
    assert [row["run"] for row in list_runs(Path("runs"))] == names
    assert str(find_run("1")) == "runs/0001-a"
    assert str(find_run("runs/sweep/1")) == "runs/sweep/0001-a"
    assert str(find_run("b")) == "runs/sweep/deeper/0001-b"
    os.chdir("runs/sweep")
    assert str(find_run("1")) == "0001-a"


def test_what_exists_is_pictures_and_no_name_of_a_run(here: Path) -> None:
    from limner.evaluation.inputs import model_or_none

    make(Path("runs"), "a")
    Path("0001").mkdir()
    assert model_or_none("0001") is None
    assert find_run("0001").name == "0001-a", "a verb on a run alone has no pictures to confuse it with"
    Path("0001").rmdir()
    with pytest.raises(InputError, match=r"0001-a has no complete checkpoint yet"):
        model_or_none("0001")


# ---- the list -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(here: Path) -> Path:
    """A folder of three runs: two of one preset that differ in a setting, and one of another preset."""
    folder = Path("runs")
    for name, preset, settings in (
        ("a", "vae", ("method.latent=4",)),
        ("b", "vae", ("method.latent=6", "seed=5")),
        ("c", "gan", ()),
    ):
        run = make(folder, name, *settings, preset=preset)
        images = {"a": 100, "b": 300, "c": 200}[name]
        run.write_status("done", images=images, seconds=10.0)
        run.append_score({"images": images - 50, "frechet": 50.0 - images / 10})
        run.append_score({"images": images, "frechet": 60.0})
    return folder


def test_a_row_says_what_a_run_did(three: Path) -> None:
    first, second, third = list_runs(three)
    assert (first["seed"], first["seconds"], first["images_per_second"]) == (0, 10.0, 10.0)
    assert (first["score"], first["best_score"]) == (60.0, 40.0)
    assert [row["settings"] for row in (first, second)] == [{"method.latent": 4}, {"method.latent": 6}]
    assert set(third["settings"]) <= {"method.latent"}, "what another preset differs in is its preset"


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (["preset=vae"], "ab"),
        (["preset!=vae"], "c"),
        (["data.source=cats"], "abc"),
        (["data.source=/pictures/cats"], "abc"),
        (["data=cat*"], "abc"),
        (["method.latent=6.0"], "b"),
        (["images>100", "images<=200"], "c"),
        (["best_score<25"], "b"),
        (["state=training"], ""),
        (["seed=5"], "b"),
    ],
)
def test_conditions(where: list[str], names: str, three: Path) -> None:
    assert "".join(row["run"][-1] for row in list_runs(three, where)) == names


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("images", "acb"),
        ("-images", "bca"),
        ("best_score", "bca"),
        ("method.latent", "abc"),
        ("-preset", "abc"),
        ("note", "bac"),
    ],
)
def test_order(sort: str, names: str, three: Path) -> None:
    write_note(three / "0002-b", "a note")
    assert "".join(row["run"][-1] for row in list_runs(three, sort=sort)) == names


@pytest.mark.parametrize(
    ("where", "sort", "words"),
    [
        (["imagse>1"], None, "did you mean 'images'"),
        (["images"], None, "write KEY=VALUE"),
        (["images>many"], None, "is no number"),
        ((), "method.latnet", "did you mean 'method.latent'"),
    ],
)
def test_a_condition_that_means_nothing_is_one_line(where: list[str], sort: str | None, words: str, three: Path) -> None:
    with pytest.raises(InputError, match=words):
        list_runs(three, where, sort)


# ---- damaged runs -------------------------------------------------------------------------------------------------------


def setting(line: str) -> Callable[[Run], None]:
    """Puts `line` in the place of the seed of a recipe."""

    def damage(run: Run) -> None:
        text = (run.path / "recipe.yaml").read_text().replace("seed: 0\n", line + "\n").replace("segments: []\n", "")
        (run.path / "recipe.yaml").write_text(text)

    return damage


def side_file(name: str, content: bytes) -> Callable[[Run], None]:
    return lambda run: (run.path / name).write_bytes(content) and None


def turned_into_a_folder(name: str) -> Callable[[Run], None]:
    def damage(run: Run) -> None:
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).mkdir()

    return damage


DAMAGES: dict[str, Callable[[Run], None]] = {
    "date": setting("seed: 2001-13-45"),
    "int": setting("seed: !!int abc"),
    "digits": setting("seed: " + "9" * 5000),
    "brackets": setting("seed: " + "[" * 1000),
    "null": setting("seed: 0\nsegments: null"),
    "three": setting("seed: 0\nsegments: 3"),
    "letters": setting("seed: 0\nsegments: [a]"),
    "recipe": side_file("recipe.yaml", b"\xff\xfe"),
    "folder": turned_into_a_folder("recipe.yaml"),
    "lost": lambda run: (run.path / "recipe.yaml").unlink(),
    **{
        f"{name} {number}": side_file(name, content)
        for name in ("status.json", "plan.jsonl", "scores.jsonl")
        for number, content in enumerate((b"null", b"[1]\n", b"\xff\xfe\n", b"[" * 100_000, b'"images"\n', b"9" * 5000))
    },
    "status folder": turned_into_a_folder("status.json"),
    "plan folder": turned_into_a_folder("plan.jsonl"),
    "plan of nothing": side_file("plan.jsonl", b'{"at": 0, "images": 0}\n'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_run_is_listed_with_the_reason_and_hides_no_other(damage: Callable[[Run], None], three: Path) -> None:
    run = Run(three / "0002-b")
    run.write_recipe(compose("vae"))
    damage(run)
    rows = list_runs(three)
    assert [row["run"][-1] for row in rows] == ["a", "b", "c"]
    assert rows[1]["state"].startswith(("damaged: ", "unreadable: "))
    assert str(run.path) in rows[1]["state"]
    assert "\n" not in rows[1]["state"]
    assert [row["state"] for row in (rows[0], rows[2])] == ["done", "done"]
    for images in (10, 20, 30):
        save(Run(three / "0001-a"), images)
    result = prune(three)
    assert len(result["removed"]) == 2, "the other runs are pruned"
    render_report(run.path)


def test_without_all_scores_nothing_is_pruned(three: Path) -> None:
    run = Run(three / "0001-a")
    for images in (10, 20, 30):
        save(run, images)
    with (run.path / "scores.jsonl").open("ab") as file:
        file.write(b"\xff\n")
    result = prune(three)
    assert result["removed"] == []
    assert [one["run"] for one in result["skipped"]] == [str(run.path)]
    assert len(run.checkpoints()) == 3


@pytest.mark.parametrize(
    "state", [b"null", b"[]", b'{"stage": "x"}', b'{"stage": -1}', b'{"seconds": true}', b"\xff", b"[" * 9999]
)
def test_a_state_of_another_form_is_one_line(state: bytes, here: Path) -> None:
    run = make(Path("runs"), "a")
    save(run, 10)
    (run.checkpoint().path / "state.json").write_bytes(state)
    with pytest.raises(InputError, match="is damaged"):
        run.checkpoint().state()


def test_what_lies_among_limners_files_is_passed_over_and_stays(here: Path) -> None:
    run = make(Path("runs"), "a")
    save(run, 10)
    for folder in ("12abc", "1²", "mine"):
        (run.path / "checkpoints" / folder).mkdir()
    (run.path / "checkpoints" / "12abc" / "COMPLETE").touch()
    (run.path / "checkpoints" / "notes.txt").touch()
    (run.path / "checkpoints" / "000000020").mkdir()
    (run.path / "previews" / "12abc.png").touch()
    assert [checkpoint.images for checkpoint in run.checkpoints()] == [10]
    run.remove_leftovers()
    run.delete_after(0)
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [
        "000000010",
        "12abc",
        "1²",
        "mine",
        "notes.txt",
    ]
    assert (run.path / "previews" / "12abc.png").exists()


def test_an_order_that_is_a_folder_is_taken_once(here: Path) -> None:
    run = make(Path("runs"), "a")
    (run.path / "control" / "stop" / "inner").mkdir(parents=True)
    assert run.take_orders() == {"stop"}
    assert run.take_orders() == set()


def test_a_damaged_status_is_written_anew(here: Path) -> None:
    run = make(Path("runs"), "a")
    (run.path / "status.json").write_text("[]")
    with pytest.raises(InputError, match=r"status\.json is damaged"):
        run.status()
    run.write_status("training", images=3)
    assert (run.status()["state"], run.status()["warnings"]) == ("training", [])


# ---- whole runs ---------------------------------------------------------------------------------------------------------


def test_deleted_runs_come_back(three: Path) -> None:
    ((before, after),) = delete_runs(["a"])
    assert (str(before), before.exists(), after.parents[1].name) == ("runs/0001-a", False, ".trash")
    assert [row["run"] for row in list_runs(three)] == ["runs/0002-b", "runs/0003-c"]
    assert [row["run"] for row in list_runs(three, trash=True)] == [str(after)]
    with pytest.raises(InputError, match="no run at 1"):
        find_run("1")
    assert make(three, "d").path.name == "0004-d"
    assert make(three / "sub", "x").path.name == "0001-x"
    assert restore_runs(["1"]) == [(after, before)]
    assert list_runs(three)[0]["run"] == str(before)
    assert not (three / ".trash").exists()


def test_a_number_of_the_trash_is_not_given_again(here: Path) -> None:
    for name in ("a", "b"):
        make(Path("runs"), name)
    delete_runs(["b"])
    assert make(Path("runs"), "c").path.name == "0003-c"


def test_a_run_in_training_is_neither_deleted_nor_moved(three: Path) -> None:
    run = Run(three / "0002-b")
    calls: list[Callable[[], object]] = [
        lambda: delete_runs(["a", "b"]),
        lambda: rename_run("b", "x"),
        lambda: move_run("b", Path("old")),
    ]
    with run.locked():
        for call in calls:
            with pytest.raises(InputError, match="is being trained by another process"):
                call()
    assert len(list_runs(three)) == 3, "of several none was moved"


def test_restoring_overwrites_nothing(three: Path) -> None:
    for _ in range(2):
        delete_runs(["0001-a"])
        shutil.copytree(three / "0003-c", three / "0001-a")
    with pytest.raises(InputError, match=r"was deleted more than once \(.*name one by this path"):
        restore_runs(["1"])
    first = list_runs(three, trash=True)[0]["run"]
    with pytest.raises(InputError, match=r"exists already, so .* stays where it is"):
        restore_runs([first])
    assert Path(first).is_dir()
    with pytest.raises(InputError, match="no deleted run 9"):
        restore_runs(["9"])
    removed, size = empty_trash(three)
    assert len(removed) == 2
    assert size > 1000
    assert not (three / ".trash").exists()


def test_the_number_stays_with_a_new_name(three: Path) -> None:
    assert rename_run("a", "better.one") == (three / "0001-a", three / "0001-better.one")
    shutil.move(three / "0002-b", three / "mine")
    assert rename_run("mine", "yours")[1] == three / "yours"
    for name, words in (
        ("a/b", "such as a-b"),
        ("../x", "is no name"),
        ("", "is no name"),
        ("x" * 300, "up to 100"),
        ("Blüten", "such as Bl-ten"),
        ("-x", "such as x"),
    ):
        with pytest.raises(InputError, match=words):
            rename_run("3", name)
    (three / "0003-taken").mkdir()
    with pytest.raises(InputError, match="exists already"):
        rename_run("3", "taken")


def test_a_run_moves_to_another_folder_and_another_disk(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert move_run("a", Path("old"))[1] == Path("old/0001-a")
    with pytest.raises(InputError, match="into itself"):
        move_run("b", three / "0002-b" / "inner")

    rename = os.rename

    def across(source: Path, target: Path) -> None:
        if Path(source) == three / "0002-b":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(moves.os, "rename", across)
    content = [path.relative_to(three / "0002-b") for path in (three / "0002-b").rglob("*")]
    assert move_run("b", Path("old"))[1] == Path("old/0002-b")
    moved = [path.relative_to("old/0002-b") for path in Path("old/0002-b").rglob("*")]
    assert set(moved) - {Path(".lock")} == set(content)
    assert not (three / "0002-b").exists()
    assert [path.name for path in Path("old").iterdir() if path.name.startswith(".")] == []


def test_recipes_that_name_a_run_follow_it(three: Path) -> None:
    """A prior's recipe named the old place of its codec's run, so that it could not be trained again."""
    place = (three / "0001-a").resolve()
    user, other = make(three / "deep", "user", f"init_from={place}"), make(three, "other", f"init_from={place}-2")
    before = (other.path / "recipe.yaml").read_bytes()
    answer = limner.rename_run("a", "better")
    assert user.recipe().init_from == f"{place.with_name('0001-better')}"
    assert answer.notes == [f"the recipe of {user.path} now names the new place (init_from)"]
    assert (other.path / "recipe.yaml").read_bytes() == before
    answer = limner.move_run("better", Path("old"))
    assert user.recipe().init_from == str(Path("old/0001-better").resolve())
    with user.locked():
        answer = limner.rename_run("old/1", "best")
        assert answer.notes[0].startswith(f"the recipe of {user.path} still names the old place (init_from): ")
        assert "is being trained" in answer.notes[0]


def test_deleting_a_run_says_which_recipes_name_it(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = make(three, "user", f"init_from={(three / '0001-a').resolve()}")
    assert main(["runs", "delete", "a"]) == 0
    assert f"the recipe of {user.path} names {three / '0001-a'} (init_from)" in capsys.readouterr().out
    assert user.recipe().init_from == str((three / "0001-a").resolve())


def test_a_list_is_also_of_one_run_and_says_where_runs_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`limner runs runs` said "no folder at runs", and of a run's own folder "no runs here"."""

    def ask(*words: str) -> str:
        code = main(["runs", *words])
        printed = capsys.readouterr()
        assert code == (2 if printed.err else 0)
        return printed.err + printed.out

    none = f"there is no folder {here / 'runs'}; nothing has been trained here yet (limner train SRC)"
    assert none in ask()
    assert none in ask("runs")
    Path("runs").mkdir()
    assert ask("runs") == f"no runs in {here / 'runs'}; limner train SRC makes one\n"
    run = make(Path("runs"), "a")
    make(Path("runs"), "b")
    for name in ("runs/0001-a", "1", "a", "0001-a"):
        assert [row["run"] for row in list_runs(Path(name))] == [str(run.path)]
    assert "give the folder that holds your runs, such as runs" in ask("list")
    os.chdir("runs")
    assert "there are runs in the folder that you are in: name it as a dot (.)" in ask()
    assert [row["run"] for row in list_runs(Path())] == ["0001-a", "0002-b"]


def test_a_note_is_listed_and_on_the_page(three: Path) -> None:
    assert write_note("1", " the good one \n") == (three / "0001-a", "the good one")
    assert list_runs(three)[0]["note"] == "the good one"
    assert "the good one" in render_report(three / "0001-a")
    assert write_note("1", None)[1] == "the good one"
    assert write_note("1", "")[1] == ""
    assert not (three / "0001-a" / "note.txt").exists()
    with pytest.raises(InputError, match="at most 10,000"):
        write_note("1", "x" * 10_001)
    (three / "0001-a" / "note.txt").write_bytes(b"\xff")
    assert list_runs(three)[0]["note"] is None


def test_the_list_is_json(three: Path) -> None:
    json.dumps(list_runs(three), allow_nan=False)
