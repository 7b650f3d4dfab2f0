"""Pages of HTML: no text that a person wrote becomes markup on any of them, and markup stands in templates and charts alone."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, TemplateNotFound, UndefinedError

import limner
from limner.evaluation import compare_page, report_page
from limner.evaluation.human import page as study_page
from limner.evaluation.human import results
from limner.evaluation.human.records import StudyKey
from limner.pages.charts import Curve, interval_chart, line_chart, share_chart
from limner.pages.html import Figure, PageTable, Tile, render
from limner.runs import report as run_report
from parsed_page import Page

SOURCE = Path(limner.__file__).parent
TEMPLATES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.html"))
PICTURES = np.zeros((3, 8, 8, 1), np.uint8)


class Hostile:
    """Texts that would run if a page took them for markup. Each names its place, and is remembered."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, place: str) -> str:
        text = f"</title></style></pre><script>{place}</script><img src=x onerror='{place}'>\"{{{{ 7 * 7 }}}} & {place}"
        self.texts.append(text)
        return text

    def name(self, place: str) -> str:
        """The same as the name of a file, which holds no slash."""
        self.texts.append(self(place).replace("/", ""))
        del self.texts[-2]
        return self.texts[-1]


# ---- one page of each kind, hostile wherever a person's text enters -----------------------------------------------------


def page_of_a_run(evil: Hostile, folder: Path) -> str:
    run = folder / "0007-<script>name<"
    evil.texts.append(run.name)
    (run / "previews").mkdir(parents=True)
    for name in ("reals", "000000000", "000001000"):
        (run / "previews" / f"{name}.png").write_bytes(b"PNG")
    recipe = {"preset": evil("preset"), "seed": 3, "data": {"source": f"folder/{evil.name('source')}"}}
    (run / "recipe.yaml").write_text(f"{json.dumps(recipe)}  # {evil('a remark')}")
    status = {
        "state": evil("state"),
        "images": 2000,
        "seconds": 5,
        "parameters": {evil("player"): 7},
        "warnings": [{"kind": "collapse", "text": evil("warning")}],
    }
    (run / "status.json").write_text(json.dumps(status))
    provenance = {
        "command": ["limner", evil("command")],
        "precision": evil("precision"),
        "hardware": {evil("part"): evil("processor")},
        "versions": {evil("package"): evil("version")},
        "data": {"fingerprint": evil("fingerprint")},
    }
    (run / "provenance.json").write_text(json.dumps(provenance))
    losses = {evil("loss of a player"): 0.5, evil("logged beside"): 0.7}
    rows = [{"images": 1000 * i, "seconds": i, "losses": losses, "lr": {next(iter(losses)): 1.0}} for i in range(3)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return run_report.render_report(run)


def scores(name: str) -> dict[str, Any]:
    one = {"value": 3.0, "error": 0.1, "null": 1.0, "z": 2.0, "p": 0.01, "low": 2.8, "high": 3.2}
    return {"frechet": one, name: {**one, "null": None, "low": None, "high": None, "p": None}}


def page_of_an_evaluation(evil: Hostile, folder: Path) -> str:
    classes = {evil("class"): 0.4, "b": 0.6}
    report = {
        "pictures": evil.name("pictures"),
        "reference": {"count": 180, "data": evil("data"), "split": evil("split"), "fingerprint": evil("fingerprint")},
        "count": 100,
        "images_seen": 5000,
        "metrics": scores(evil("metric")),
        "features": {
            "name": evil("detector"),
            "dimensions": 64,
            "checksum": evil("checksum"),
            "about": {evil("about"): evil("value")},
            "held_out_accuracy": 0.9,
        },
        "context": {"quantisation": evil("quantisation"), "seed": 0, "features_kept": [100, 180], "notes": [evil("note")]},
        "warnings": [evil("warning")],
        "likelihood": {"of": evil("likelihood"), "draws": 2},
        "checkpoint": evil("checkpoint"),
        "factors": {evil("factor"): {evil("score of a factor"): 0.5}},
        "classes": {"samples": classes, "real": classes},
        "seconds": 1.5,
    }
    return report_page.render_report(report, {evil("shown"): PICTURES}, None)


def page_over_time(evil: Hostile, folder: Path) -> str:
    rows = [{"images": 1000 * i, "metrics": scores("mmd"), "report": None, "page": None} for i in range(3)]
    answer = {
        "run": evil.name("run"),
        "reference": {"count": 180, "data": evil("data"), "split": evil("split"), "fingerprint": evil("fingerprint")},
        "count": 100,
        "metrics": scores(evil("metric"))
        | {"inception_score": {"value": 1.0, "error": None, "null": None, "z": None, "p": None, "parts": [1.0, 2.0]}},
        "features": {"name": evil("detector"), "dimensions": 64, "checksum": evil("checksum"), "about": {}},
        "checkpoints": [*rows, {**rows[0], "images": 4000, "metrics": scores(evil("another metric"))}],
        "warnings": [evil("warning")],
        "seconds": 1.5,
    }
    evil.texts = [text for text in evil.texts if "metric" not in text or "another" in text]  # the tables show those of rows
    return report_page.render_report_over_time(answer)


def page_of_a_comparison(evil: Hostile, folder: Path) -> str:
    one, other = evil("one run"), evil("another run")
    rows = [
        {
            "name": name,
            "preset": evil(f"preset of {name[-9:]}"),
            "images": 1000,
            "seed": 0,
            "seconds": 3.0,
            "path": evil(f"path of {name[-9:]}"),
            "metrics": scores("mmd"),
            "settings": {"method.width": evil(f"setting of {name[-9:]}")},
        }
        for name in (one, other)
    ]
    pair = {"metric": "frechet", "a": one, "b": other, "difference": 1.0, "low": 0.5, "high": 1.5, "p": 0.01}
    groups = [
        {
            "name": evil(f"group {i}"),
            "runs": [one, evil(f"member {i}")],
            "metrics": {"frechet": {"mean": 1, "low": 0, "high": 2}},
        }
        for i in range(2)
    ]
    answer = {
        "table": rows,
        "reference": {"count": 180, "data": evil("data"), "split": evil("split")},
        "features": {"name": evil("detector")},
        "count": 100,
        "notes": [evil("note")],
        "differences": [{**pair, "claim": evil("claimed"), "sure": True, "words": evil("words")}],
        "groups": groups,
        "group_differences": [{**pair, "claim": None, "sure": False, "words": ""}],
    }
    over_time = {name: [{"images": 1000 * i, "frechet": 3.0} for i in range(3)] for name in (one, evil("trained"))}
    return compare_page.render_comparison(answer, {one: PICTURES, evil("pictures"): PICTURES}, over_time)


def page_of_results(evil: Hostile, folder: Path) -> str:
    estimate = {"value": 1.0, "low": 0.5, "high": 1.5}
    rows = [
        {
            "task": task,
            "run": evil(f"run in {task}"),
            "people": 9,
            "judgements": 90,
            "accuracy": estimate,
            "d_prime": estimate,
            "criterion": estimate,
            "strength": estimate,
            "won": 3,
            "tied": 1,
            "lost": 2,
            "words": f"words of {task}",
        }
        for task in ("timed", "untimed", "pairs")
    ]
    compared = [{"task": "timed", "a": evil("one"), "b": evil("other"), "difference": estimate, "words": evil("claim")}]
    answer = {
        "study": f"studies/{evil.name('study')}",
        "table": rows,
        "comparisons": compared,
        "people": {"kept": 3, "answered": 9, "excluded": [{"person": evil("person"), "why": evil("why")}]},
        "judgements": {"kept": 90, "set_aside": {evil("reason"): 3}},
        "runs": ["a", "b"],
        "reals": {"data": evil("data"), "split": evil("split")},
        "ties": {"share": 0.1},
        "rules": {
            "least_people": 8,
            "level": 0.95,
            "intervals": evil("intervals"),
            "catch_right": 0.8,
            "least_catch": 3,
        },
    }
    return results.render_results_page(answer)


PAGES: dict[str, Callable[[Hostile, Path], str]] = {
    "runs/report.html": page_of_a_run,
    "evaluation/report_page.html": page_of_an_evaluation,
    "evaluation/report_over_time.html": page_over_time,
    "evaluation/compare_page.html": page_of_a_comparison,
    "evaluation/human/results.html": page_of_results,
}
SHARED = {"pages/base.html", "pages/macros.html"}


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())
def test_no_text_of_a_person_becomes_markup(make: Callable[[Hostile, Path], str], tmp_path: Path) -> None:
    evil = Hostile()
    text = make(evil, tmp_path)
    page = Page(text)
    assert page.count("script") == 0
    assert page.count("style") == page.count("title") - text.count("<circle") - text.count("<rect") == 1
    assert [name for _, attributes in page.tags for name in attributes if name.startswith("on")] == []
    sources = [attributes["src"] or "" for _, attributes in page.tags if "src" in attributes]
    assert all(address.startswith("data:image/png;base64,") for address in sources)
    policy = next(tag["content"] for _, tag in page.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    shown = page.text + "".join(value or "" for _, attributes in page.tags for value in attributes.values())
    assert [text for text in evil.texts if text not in shown] == [], "of what is not on the page nothing is known"


def test_the_page_that_people_see_runs_one_script_whatever_a_study_is_called() -> None:
    evil = Hostile()
    key = StudyKey.model_construct(study=evil("study"), exposure=500, tasks=["pairs"], forms=[])
    text = study_page.render_study_page(key, 9, {evil("picture"): b"PNG"}, [], [], {"pairs": []})
    page = Page(text)
    assert page.count("script") == 2, "one is data"
    held = re.search(r'<script id="study" type="application/json">(.*?)</script>', text)
    assert held is not None
    study = json.loads(held[1])
    assert [study["study"], *study["names"]] == evil.texts


def test_every_template_is_tried_with_hostile_texts() -> None:
    assert set(TEMPLATES) == {*PAGES, *SHARED, "evaluation/human/page.html"}


def test_charts_escape_what_they_name() -> None:
    evil = Hostile()
    interval = [(evil("run")[-28:], 1.0, 0.5, 1.5)]
    charts = [
        line_chart(evil("title"), [Curve(evil("curve"), [(0, 1), (1, 2)], dots=True)]),
        interval_chart(evil("heading"), interval, (evil("mark"), 1.0)),
        share_chart({evil("class"): 0.5}, {evil.texts[-1]: 0.5}),
    ]
    for one in charts:
        assert {tag for tag, _ in Page(one).tags} <= {
            "figure",
            "figcaption",
            "strong",
            "span",
            "b",
            "svg",
            "line",
            "polyline",
            "text",
            "circle",
            "title",
            "rect",
        }


def test_parts_of_pages(tmp_path: Path) -> None:
    """A picture that enlarges without a script, tiles with and without a note, and a template that lies elsewhere."""
    (tmp_path / "mine.html").write_text(
        '{% import "pages/macros.html" as shared %}{{ shared.header("a", "b", tiles) }}{{ shared.figure(figure) }}'
        "{{ shared.table(table) }}{{ shared.warnings([]) }}{{ share | percent }}, {{ 'few' | sentence }}"
    )
    facts = {
        "tiles": [Tile("n", "1", "of two", "hint"), Tile("m", "2")],
        "figure": Figure(b"PNG", "words", "caption"),
        "table": PageTable(["", "head"], [["name", "cell"]]),
        "share": 0.5,
    }
    text = render("mine.html", facts, folder=tmp_path)
    assert '<dd>1 <small title="hint">of two</small></dd>' in text
    assert "<dd>2</dd>" in text
    assert '<input type="checkbox" aria-label="enlarge: words"><img alt="words" src="data:image/png;base64,UE5H">' in text
    assert "<tr><th>name</th><td>cell</td></tr>" in text
    assert "warnings" not in text
    assert text.endswith("50%, Few.")


def test_a_name_that_nobody_gave_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("{{ missing }}")
    with pytest.raises(UndefinedError, match="missing"):
        render("mine.html", {}, folder=tmp_path)
    with pytest.raises(TemplateNotFound):
        render("../pyproject.toml", {})


def test_templates_wait_until_a_page_is_written() -> None:
    code = "import sys, limner; from limner.cli import main; main(['--help']); assert 'jinja2' not in sys.modules, 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# ---- markup stands in templates -----------------------------------------------------------------------------------------


def tags_of_templates() -> set[str]:
    """The names of the elements that templates and charts are made of."""
    texts = [(SOURCE / path).read_text(encoding="utf-8") for path in TEMPLATES]
    texts.append((SOURCE / "pages" / "charts.py").read_text(encoding="utf-8"))
    return {name for text in texts for name in re.findall(r"</?([a-z][a-z0-9]*)[\s/>]", text)}


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string in Python code that is no docstring; of an f-string its fixed pieces."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in alone:
            yield node.lineno, node.value


MARKUP_IN_CODE = frozenset({SOURCE / "pages" / "charts.py", SOURCE / "core" / "notebook.py"})
"""Charts, and the table that a notebook shows for a result; the ground floor knows no templates."""


def test_markup_stands_in_templates_charts_and_the_notebooks_table_alone() -> None:
    tags = tags_of_templates()
    assert {"section", "table", "figure", "svg", "p"} <= tags
    markup = re.compile(rf"</?(?:{'|'.join(sorted(tags))})(?=[\s/>])|<!doctype", re.IGNORECASE)
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {text[:60]!r}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path not in MARKUP_IN_CODE
        for line, text in strings(path)
        if markup.search(text)
    ]
    assert wrong == []


def test_every_template_is_sound() -> None:
    environment = Environment(autoescape=True)
    for path in TEMPLATES:
        text = (SOURCE / path).read_text(encoding="utf-8")
        environment.parse(text)
        assert "| safe" not in text, path
