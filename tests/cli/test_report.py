"""`report.html`: made from the files alone, safe to open, and whole as far as the files are."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path

import pytest

from limner.core.errors import InputError
from limner.runs.report import MAX_PREVIEWS, render_report, write_report
from parsed_page import Page

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
FILES = ["recipe.yaml", "status.json", "provenance.json", "metrics.jsonl", "scores.jsonl"]
EVIL = "</pre><script>alert(1)</script><img src=x onerror='alert(2)'>\"'&"


def make_run(folder: Path, *, name: str = "digits", previews: int = 3, rows: int = 50) -> Path:
    (folder / "previews").mkdir(parents=True)
    (folder / "previews" / "reals.png").write_bytes(PIXEL)
    for i in range(previews):
        (folder / "previews" / f"{1000 * i:09d}.png").write_bytes(PIXEL)
    (folder / "recipe.yaml").write_text(json.dumps({"preset": "dcgan", "seed": 3, "data": {"source": name}, "note": name}))
    status = {"state": "done", "images": 50_000, "seconds": 75, "parameters": {"generator": 1_234_567}}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "provenance.json").write_text(json.dumps({"command": ["limner", "train", name], "versions": {"torch": "2.13"}}))
    with (folder / "metrics.jsonl").open("w") as handle:
        for i in range(rows):
            losses = {"generator": 0.7 + i / 100, name: math.nan if i == 7 else 1.3}
            row = {"images": 1000 * i, "seconds": i, "images_per_second": 900.0, "memory": 2**28, "losses": losses}
            handle.write(json.dumps(row) + "\n")
    with (folder / "scores.jsonl").open("w") as handle:
        for i, score in enumerate([40.0, 12.5, 13.0]):
            row = {"images": 10_000 * i, "frechet": score, "null": 1.1, "class_distance": 0.2, "coverage": 0.8, "seconds": 1}
            handle.write(json.dumps(row) + "\n")
    return folder


def test_everything_is_on_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "0007-digits-dcgan")
    path = write_report(run)
    assert path == run / "report.html"
    seen = Page(path.read_text(encoding="utf-8"))
    for words in (
        "0007-digits-dcgan",
        "digits · dcgan",
        "50,000",
        "done",
        "12.5",
        "real pictures get 1.1",
        "1,234,567",
        "limner train digits",
        "Through time",
        "Losses",
        "Images per second",
        "coverage",
    ):
        assert words in seen.text, words
    assert seen.count("svg") == 4
    assert seen.count("img") == 2 + 3  # the newest beside the reals, and the strip


def test_warnings_stand_in_a_box(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert 'class="warnings"' not in render_report(run)
    for told, shown in (
        ([{"kind": "collapse", "text": EVIL}], True),
        ([], False),
        ("text", False),
        ([3, {"text": 4}, {}], False),
    ):
        (run / "status.json").write_text(json.dumps({"state": "done", "images": 5, "warnings": told}))
        seen = Page(render_report(run))
        assert (EVIL in seen.text) == shown
        assert ('class="warnings"' in render_report(run)) == shown
        assert seen.count("script") == 0


def test_what_was_watched_is_drawn_beside_what_was_trained(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    losses = {"generator": 1.0, "right_on_real": 0.7, "right_on_fake": 0.6}
    watch = {"held_out_right_on_real": 0.5, "held_out_generator": 1.1, "diversity": 0.9, "gradient_norm/generator": 2.0}
    rows = [{"images": 10 * i, "lr": {"generator": 1.0}, "losses": losses, "watch": watch} for i in range(5)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    charts = {chart.partition("</strong>")[0].rpartition(">")[2]: chart for chart in render_report(run).split("<figure")}
    assert "held_out_generator" in charts["Losses"]
    for name in ("right_on_real", "right_on_fake", "held_out_right_on_real"):
        assert f">{name} <b>" in charts["right on"]
    assert "distance between two" in charts["Variety of previews (real pictures: 1 and 0)"]
    assert ">generator <b>" in charts["Norm of the gradient"]


def test_it_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = render_report(make_run(tmp_path / "run"))
    seen = Page(text)
    assert seen.count("script") == seen.count("link") == seen.count("iframe") == 0
    links = [value for _, attributes in seen.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links
    assert all((value or "").startswith("data:image/png;base64,") for value in links)
    assert "url(" not in text
    assert "@import" not in text


def test_names_never_become_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<b onclick=x>", name=EVIL)
    status = {"state": EVIL, "images": 5, "parameters": {EVIL: 3}}
    (run / "status.json").write_text(json.dumps(status))
    (run / "provenance.json").write_text(json.dumps({"command": EVIL, "hardware": {EVIL: EVIL}, "precision": EVIL}))
    seen = Page(render_report(run))
    assert seen.count("script") == 0
    assert seen.count("b") == len(re.findall("<b>", render_report(run)))  # only the page's own, which have no attributes
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in seen.text  # shown, as text


@pytest.mark.parametrize(
    "missing", ["recipe.yaml", "status.json", "provenance.json", "metrics.jsonl", "scores.jsonl", "previews"]
)
def test_what_is_missing_is_left_out(missing: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    if missing == "previews":
        for path in (run / missing).iterdir():
            path.unlink()
        (run / missing).rmdir()
    else:
        (run / missing).unlink()
    Page(render_report(run))


@pytest.mark.parametrize("broken", FILES)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{{{", b"[1, 2", b'"text"', b"{}\n[]\n3\n", b'{"images": "x", "losses": 3}'])
def test_what_is_broken_is_left_out(broken: str, content: bytes, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / broken).write_bytes(content)
    Page(render_report(run))


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("preset: vae\n")
    assert "vae" in Page(render_report(tmp_path)).text


def test_long_runs_stay_small(tmp_path: Path) -> None:
    seen = Page(text := render_report(make_run(tmp_path / "run", previews=200, rows=20_000)))
    assert seen.count("img") == 2 + MAX_PREVIEWS
    assert len(text) < 150_000
    assert "199,000" in seen.text  # the newest is among those kept


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.0, 0.0], [-5.0, 1e30], [1e-12, 2e-12]])
def test_curves_of_any_values(values: list[float], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    rows = [json.dumps({"images": 10 * i, "losses": {"a": value}}) for i, value in enumerate(values)]
    (run / "metrics.jsonl").write_text("\n".join(rows))
    text = render_report(run)
    assert "nan" not in "".join(re.findall(r'points="[^"]*"', text))


def test_a_run_is_known_by_its_number(tmp_path: Path) -> None:
    run = make_run(tmp_path / "0007-digits-dcgan")
    assert write_report(tmp_path / "0007") == run / "report.html"


@pytest.mark.parametrize("where", ["", "nowhere", "0007-digits-vae"])
def test_what_is_no_run_is_refused(where: str, tmp_path: Path) -> None:
    make_run(tmp_path / "0007-digits-dcgan")
    with pytest.raises(InputError, match="no run at"):
        write_report(tmp_path / where)
