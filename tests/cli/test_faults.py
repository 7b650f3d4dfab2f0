"""The faults that strangers met on 2026-11-30, each on the way on which it was met: a folder, a command, its one answer.

Most have tests of their own, which try their siblings too: `COVERED` names them, and this file tries the command line for those
that `data check` shows at once, and in full those that no other test does.

| fault | what was wrong |
| --- | --- |
| F01 | the orientation of a TIFF was applied twice |
| F02 | of two folders with equal names, sizes and times the first was served for the second; F02b: of one that changed |
| F03 | training/testing, train/test1 and train2017/val2017 became classes |
| F04 | class folders of a zip with backslashes were lost |
| F05 | hard links in a tar were lost without a word |
| F07 | seeds of NumPy's integer types drew other pictures |
| F08 | a sheet among samples was judged as one |
| F09 | samples of two checkpoints lay in one folder |
| F10 | 16-bit files with values of 8 or 12 bits became black |
| F12 | labels of a .jsonl that are floats were dropped |
| F14 | the columns Label and caption were ignored without a word |
| F15 | a stray picture beside the one folder lost every class |
| F16 | `train .`: the run lay among its own pictures |
| F17, F18 | train and evaluate said nothing of pictures that were set aside |
| F19 | white pictures on clear ground were all blank, unsaid |
| F20 | names that are not UTF-8 ended in exit 1 |
| F21 | two classes with names alike had one folder of samples |
| F23 | a folder called like a built-in set was not read, unsaid |
| F25 | thumbnails of a file server were pictures, and a class |
| F26 | test pictures that repeat training ones were moved to train, unsaid |
| F27 | shards of a StyleGAN set became classes |
| F29 | colour profiles were ignored |
| F31 | `--minutes inf` was taken |
| F32 | a named pipe was waited for |
| F33 | `embed` refused a folder of one picture |
| F35 | the folder of samples of one class was not understood as that class |
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from limner.cli import main
from limner.core.documents import read_json
from made import encoded, folder, textured, write

TESTS = Path(__file__).parents[1]
COVERED = {
    "F01": ["unit/test_data_pixels.py::test_an_orientation_is_applied_once_in_every_format"],
    "F02": ["unit/test_data_prepare.py::test_a_set_is_what_its_files_hold_and_not_what_they_are_called"],
    "F02b": ["unit/test_data_prepare.py::test_what_is_remembered_of_files_ends_with_any_change"],
    "F03": ["unit/test_data_folders.py::test_folders_become_splits_and_classes"],
    "F04": ["unit/test_data_archives.py::test_backslashes_in_names_are_folders"],
    "F05": ["unit/test_data_archives.py::test_links_inside_an_archive_are_followed"],
    "F07": [
        "cli/test_calls.py::test_seeds_of_every_integer_type_are_the_same_pictures",
        "cli/test_calls.py::test_what_is_no_list_of_seeds_is_refused_in_one_line",
    ],
    "F08": ["cli/test_calls.py::test_a_sheet_is_no_sample", "cli/test_calls.py::test_sheets_of_all_verbs_are_recognised"],
    "F09": ["cli/test_calls.py::test_samples_of_another_checkpoint_do_not_come_among_those_of_the_first"],
    "F10": ["unit/test_data_pixels.py::test_whole_numbers_share_the_scale_that_holds_the_largest_of_the_set"],
    "F12": ["unit/test_data_tables.py::test_labels_of_every_json_type"],
    "F14": [
        "unit/test_data_tables.py::test_upper_case_and_blanks_in_columns_make_no_difference",
        "unit/test_data_tables.py::test_columns_that_are_not_read_are_named_with_what_they_may_be",
    ],
    "F15": ["unit/test_data_folders.py::test_folders_become_splits_and_classes"],
    "F16": ["unit/test_data_folders.py::test_what_limner_made_among_the_pictures_is_left_out"],
    "F17": ["cli/test_calls.py::test_training_says_what_was_set_aside"],
    "F18": ["cli/test_calls.py::test_judging_says_what_was_set_aside"],
    "F19": ["unit/test_data_pixels.py::test_blank_pictures_are_said_with_the_settings"],
    "F20": [
        "unit/test_data_folders.py::test_a_folder_whose_name_is_not_utf8_is_prepared",
        "cli/test_odd_names.py::test_a_run_on_such_a_folder_trains_resumes_and_draws",
    ],
    "F21": ["cli/test_calls.py::test_classes_with_names_alike_have_two_folders"],
    "F23": ["unit/test_data_folders.py::test_a_folder_called_like_a_built_in_set_is_mentioned"],
    "F25": ["unit/test_data_folders.py::test_what_servers_and_systems_add_is_left_out"],
    "F26": [
        "unit/test_data_folders.py::test_a_copy_of_a_test_picture_is_left_out",
        "unit/test_data_folders.py::test_a_move_to_train_is_said",
    ],
    "F27": ["unit/test_data_tables.py::test_labels_of_stylegan_are_read"],
    "F29": ["unit/test_data_pixels.py::test_a_wide_gamut_becomes_srgb"],
    "F31": ["unit/test_budget.py::test_minutes_are_finite_for_train_and_resume"],
    "F32": ["unit/test_data_folders.py::test_what_is_no_regular_file_is_set_aside"],
    "F33": ["cli/test_calls.py::test_a_folder_of_one_picture_is_one_picture"],
    "F35": ["cli/test_calls.py::test_samples_of_a_class_are_understood_as_that_class"],
}
"""Fault -> the tests of its kind, by file and name."""


def test_every_fault_has_its_tests() -> None:
    assert len(COVERED) == 28
    assert all(re.search(rf"\b{fault.removesuffix('b')}\b", __doc__ or "") for fault in COVERED)
    for fault, names in COVERED.items():
        for name in names:
            file, _, function = name.partition("::")
            assert f"\ndef {function}(" in (TESTS / file).read_text(encoding="utf-8"), (fault, name)


# ---- what `data check` shows at once ------------------------------------------------------------------------------------


def tree(root: Path, **counts: int) -> Path:
    """Pictures below `root`, such as ``cat=6``; ``__`` in a name is a slash. No two are alike."""
    for number, (name, count) in enumerate(counts.items()):
        folder(root, {name.replace("__", "/"): count}, first_seed=100 * number, height=16, width=16)
    return root


def packed_by_windows(here: Path) -> Path:
    with zipfile.ZipFile(here / "win.zip", "w") as archive:
        for path in sorted(tree(here / "z", cat=6, dog=6).rglob("*.png")):
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.create_system = str(path.relative_to(here)).replace("/", "\\"), 0
            archive.writestr(entry, path.read_bytes())
    return here / "win.zip"


def with_hard_links(here: Path) -> Path:
    root = tree(here / "h", cat=6, dog=2)
    for number in range(2):
        os.link(root / "cat" / f"{number:03d}.png", root / "dog" / f"link{number}.png")
    with tarfile.open(here / "h.tar", "w") as archive:
        archive.add(root, "h")
    return here / "h.tar"


def of_16_bits(here: Path) -> Path:
    for number in range(6):
        values = textured(number, 16, 16, 1)[..., 0].astype("uint16") * 16
        write(here / "twelve" / f"{number}.png", encoded(Image.fromarray(values)))
    return here / "twelve"


def with_json_labels(here: Path) -> Path:
    root = tree(here, j=8) / "j"
    rows = [{"file_name": f"{i:03d}.png", "label": float(i % 2) if i < 4 else i % 2} for i in range(8)]
    write(root / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    return root


def with_other_columns(here: Path) -> Path:
    root = tree(here, c=6) / "c"
    write(root / "metadata.csv", "\n".join(["file_name,Label,caption", *(f"00{i}.png,{i % 2},a" for i in range(6))]).encode())
    return root


def with_a_stray_picture(here: Path) -> Path:
    root = tree(here / "s", flowers__rose=6, flowers__tulip=6)
    write(root / "stray.png", encoded(textured(900, 16, 16)))
    return root


def of_white_shapes(here: Path) -> Path:
    for number in range(10):
        image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
        ImageDraw.Draw(image).ellipse((number, number, number + 12, number + 12), fill="white")
        write(here / "icons" / f"{number}.png", encoded(image))
    return here / "icons"


def called_like_a_built_in_set(here: Path) -> Path:
    tree(here, digits=10)
    return Path("digits")


def with_thumbnails_of_a_server(here: Path) -> Path:
    root = tree(here / "ea", cat=4, dog=4)
    write(root / "@eaDir" / "x.png" / "SYNOPHOTO_THUMB_M.png", encoded(textured(900, 12, 12)))
    return root


def with_copies_in_test(here: Path) -> Path:
    root = tree(here / "du", train=20)
    for path in sorted((root / "train").iterdir())[:10]:
        write(root / "test" / path.name, path.read_bytes())
    return root


def of_stylegan(here: Path) -> Path:
    root = tree(here / "sg", **{"00000": 10, "00001": 10})
    labels = [[path.relative_to(root).as_posix(), number % 2] for number, path in enumerate(sorted(root.rglob("*.png")))]
    write(root / "dataset.json", json.dumps({"labels": labels}).encode())
    return root


def with_a_pipe(here: Path) -> Path:
    root = tree(here, fi=4) / "fi"
    os.mkfifo(root / "x.png")
    return root


CHECKS: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    "F03, words": (
        lambda here: tree(here / "t", training__cat=10, training__dog=10, testing__cat=5, testing__dog=5),
        {"splits": {"train": 18, "val": 2, "test": 10}, "classes": {"cat": 15, "dog": 15}},
        "splits by the names of folders: testing (test), training (train)",
    ),
    "F03, numbers": (
        lambda here: tree(here / "t", train=20, test1=10),
        {"splits": {"train": 18, "val": 2, "test": 10}},
        "test1",
    ),
    "F03, years": (lambda here: tree(here / "t", train2017=20, val2017=4), {"splits": {"train": 20, "val": 4}}, "val2017"),
    "F04": (packed_by_windows, {"images": 12, "classes": {"cat": 6, "dog": 6}}, ""),
    "F05": (with_hard_links, {"images": 10, "classes": {"cat": 6, "dog": 4}}, ""),
    "F10": (of_16_bits, {"images": 6}, "0 is black and 4095 white"),
    "F12": (with_json_labels, {"images": 8, "classes": {"0": 4, "1": 4}}, ""),
    "F14": (with_other_columns, {"classes": {"0": 3, "1": 3}, "captions": 0}, "caption"),
    "F15": (with_a_stray_picture, {"images": 13, "classes": {"rose": 6, "tulip": 6}}, "stray.png"),
    "F19": (of_white_shapes, {}, "data.background=black shows them, and data.channels=4 keeps transparency"),
    "F23": (called_like_a_built_in_set, {}, "./digits"),
    "F25": (with_thumbnails_of_a_server, {"classes": {"cat": 4, "dog": 4}}, "thumbnails of a Synology file server"),
    "F26": (with_copies_in_test, {"splits": {"train": 9, "val": 1, "test": 10}}, "repeats the test picture test/000.png"),
    "F27": (of_stylegan, {"images": 20, "classes": {"0": 10, "1": 10}}, "dataset.json"),
    "F32": (with_a_pipe, {"images": 4}, ""),
}
"""Fault -> the maker of what was given, facts of the answer, and words that are said about it."""


@pytest.mark.parametrize("fault", CHECKS)
def test_a_check_says_how_it_was_read(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, facts, words = CHECKS[fault]
    monkeypatch.chdir(tmp_path)
    source = make(tmp_path)
    assert main(["data", "check", str(source), "--json"]) == 0
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert {key: answer[key] for key in facts} == facts
    assert words in json.dumps(answer) + shown.err
    assert main(["data", "check", str(source)]) == 0
    shown = capsys.readouterr()
    assert words in shown.out + shown.err


# ---- what takes a run ---------------------------------------------------------------------------------------------------

QUICK = ["--preset", "gan", "--images", "32", "batch.size=16", "score.points=0", "previews.count=4"]


def test_f16_a_run_among_its_own_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train .` and all that follows it, in the folder itself: the run, its previews and samples are no pictures of the set."""
    monkeypatch.chdir(tree(tmp_path / "dot", cat=20, dog=20))
    assert main(["train", ".", *QUICK]) == 0
    assert main(["sample", "1", "--count", "2", "--grid"]) == 0
    assert main(["resume", "1", "--images", "64"]) == 0
    assert main(["evaluate", "1", "--count", "20", "--features", "pixels", "--metrics", "frechet", "--out", "judged"]) == 0
    capsys.readouterr()
    assert main(["data", "check", ".", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["classes"] == {"cat": 20, "dog": 20}
    assert answer["images"] == 40


def test_f20_a_name_that_is_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    try:
        os.mkdir(name)
    except OSError:
        pytest.skip("no such names here")
    for number in range(4):
        with open(f"{name}/{number}.png", "wb") as file:
            file.write(encoded(textured(number)))
    for verb in ("check", "prepare"):
        assert main(["data", verb, name]) == 0
        assert "images" in capsys.readouterr().out


def test_f31_a_budget_without_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for minutes in ("inf", "nan", "Infinity", "1e999"):
        assert main(["train", "digits", *QUICK[:2], "--minutes", minutes, "--out", str(tmp_path / "runs")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_f02_a_run_is_held_against_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other pictures of the same names, sizes and times are other pictures, to `data prepare` as to a run."""
    prints = []
    for seed in (0, 50):
        for number in range(8):
            path = write(tmp_path / "ip" / f"{number}.bmp", encoded(textured(seed + number, 16, 16), "BMP"))
            os.utime(path, (1e9, 1e9))
        assert main(["data", "prepare", str(tmp_path / "ip"), "--json"]) == 0
        prepared = json.loads(capsys.readouterr().out)
        assert main(["data", "check", str(tmp_path / "ip"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["fingerprint"] == prepared["fingerprint"]
        assert read_json(Path(prepared["path"]) / "manifest.json")["fingerprint"] == prepared["fingerprint"]
        prints.append(prepared["fingerprint"])
    assert prints[0] != prints[1]
