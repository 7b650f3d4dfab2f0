"""`limner define`: every word that a report, a curve or a setting shows has a meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import limner
from limner import InputError
from limner.cli import main
from limner.core.glossary import GLOSSARY
from limner.evaluation.gate import FIELDS
from limner.metrics.features.table import DETECTORS
from limner.metrics.scores import METRICS
from limner.recipes.registry import METHODS, PRESETS
from limner.recipes.settings import known_keys


def kinds(word: str) -> set[str]:
    return {row["kind"] for row in limner.define(word).definitions}


def test_all_names_of_the_tables_are_defined() -> None:
    for table, kind in ((METRICS, "metric"), (PRESETS, "preset"), (METHODS, "family"), (DETECTORS, "detector")):
        for name in table:
            assert kind in kinds(name), name


def test_every_setting_that_a_recipe_may_have_is_defined() -> None:
    missing = []
    for key in sorted(known_keys()):
        inner = any(other.startswith(f"{key}.") for other in known_keys())
        if not inner and "setting" not in {row["kind"] for row in limner.define(key).definitions}:
            missing.append(key)
    assert missing == []


def test_what_reports_and_curves_show_is_defined() -> None:
    """The numbers of a score, and every name that the code puts beside the losses."""
    for word in (*FIELDS[1:], "p_floor", "null", "judge", "coverage", "R1", "ELBO", "FID", "kid", "drift", "Held-out"):
        assert limner.define(word).definitions, word
    sources = [path.read_text(encoding="utf-8") for path in Path(limner.__file__).parent.glob("methods/**/*.py")]
    logged = {name for text in sources for name in re.findall(r'logs\["(\w+)"\]', text)}
    assert {"right_on_real", "sigma", "total_correlation"} <= logged
    for name in logged:
        assert "word" in kinds(name), name


def test_a_setting_is_found_by_its_last_part_and_an_unknown_word_by_the_nearest() -> None:
    assert [row["word"] for row in limner.define("r1_gamma").definitions] == ["method.r1_gamma"]
    assert limner.define("FID").definitions[0]["word"] == "frechet"
    with pytest.raises(InputError, match="'covrage' is not defined; did you mean 'coverage'"):
        limner.define("covrage")


def test_several_words_are_a_term_or_a_term_each() -> None:
    """The command line gave every word but the first away, or refused them."""
    assert kinds("posterior collapse") == kinds("Posterior_Collapse") == {"word"}
    for words in (["posterior", "collapse"], "posterior collapse", ["posterior collapse"]):
        assert [row["word"] for row in limner.define(words).definitions] == ["posterior collapse"]
    assert [row["word"] for row in limner.define(["fid", "kid", "FID"]).definitions] == ["frechet", "mmd"]
    assert [row["word"] for row in limner.define("mode collapse z").definitions] == ["mode collapse", "z"]
    with pytest.raises(InputError, match="'covrage' is not defined; did you mean 'coverage'"):
        limner.define(["fid", "covrage", "kid"])


def test_the_command_joins_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["define", "posterior", "collapse", "kid"]) == 0
    assert [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()] == ["posterior collapse", "mmd"]


def test_the_terms_of_the_pages_are_defined() -> None:
    for word in (
        *("truncation", "temperature", "top-k", "top_p", "Fréchet", "FID", "jackknife", "confidence interval", "Holm"),
        *("nearness", "variety", "view", "hinge", "non-saturating", "Wasserstein", "residual", "projection", "DiffAugment"),
        *("cutout", "lazily", "encoder", "decoder", "rate", "distortion", "likelihood", "importance", "perplexity", "usage"),
        *("codes", "transformer", "k-means", "interpolation", "traversal", "probe", "factor", "disentanglement", "d_prime"),
        *("catch trial", "manifest", "shard", "set aside", "transparency", "dry run", "digits", "mnist", "scenes-1", "epoch"),
    ):
        assert limner.define(word).definitions, word


def test_definitions_are_sentences_that_stand_once() -> None:
    names = [name for word, one in GLOSSARY.items() for name in (word, *one.synonyms)]
    assert len(set(names)) == len(names)
    for word, one in GLOSSARY.items():
        assert one.text.endswith(".") or one.text.endswith(".)"), word
        assert one.reference == "" or "arXiv:" in one.reference or one.reference.startswith("docs/"), word
    pages = {one.reference for one in GLOSSARY.values() if one.reference.startswith("docs/")}
    root = Path(limner.__file__).parents[2]
    assert all((root / page).is_file() for page in pages) or not (root / "docs").is_dir()
