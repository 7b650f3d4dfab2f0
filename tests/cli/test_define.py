"""`limner define`: every word that a report, a curve or a setting shows has a meaning."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import limner
from limner import InputError
from limner.cli import main
from limner.core.glossary import GLOSSARY
from limner.evaluation.gate import FIELDS
from limner.methods.flow.config import Solver
from limner.metrics.features.table import DETECTORS
from limner.metrics.scores import METRICS
from limner.recipes.registry import METHODS, PRESETS
from limner.recipes.settings import describe_settings, known_keys


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


def names_of_curves() -> tuple[set[str], set[str]]:
    """(players, other names) of the losses that any method gives to the loop: the keys of the literals in its code."""
    players, others = set[str](), set[str]()

    def keys(node: ast.AST | None) -> set[str]:
        return {key.value for key in getattr(node, "keys", ()) if isinstance(key, ast.Constant) and isinstance(key.value, str)}

    for path in Path(limner.__file__).parent.glob("methods/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Losses":
                players |= {name for argument in node.args[:1] for part in ast.walk(argument) for name in keys(part)}
                others |= {name for keyword in node.keywords if keyword.arg == "logs" for name in keys(keyword.value)}
            if isinstance(node, ast.Assign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name) and target.id == "logs":
                        others |= keys(node.value)
    return players, others


def test_every_curve_is_defined() -> None:
    """`held_out_discriminator` was not known, and "held out" was proposed instead."""
    players, others = names_of_curves()
    assert players == {"generator", "discriminator", "vae", "critic", "autoencoder", "flow", "prior", "codec"}
    assert {"squared_error", "distortion_bits_per_dim", "right_on_joint", "perplexity", "code_bits_per_dim"} <= others
    for name in players | others:
        assert limner.define(f"held_out_{name}").definitions[0]["word"] == "held_out_", name
        assert limner.define(f"gap_{name}").definitions[0]["word"] == "gap_", name
    for name in players:
        rows = limner.define(f"gradient_norm/{name}").definitions
        assert (rows[0]["word"], rows[1:]) == ("gradient_norm/", limner.define(name).definitions), name
    others |= {"diversity", "twins", "pictures_held_out", "class_distance", "coverage", "Fréchet distance", "images/s"}
    assert len(limner.define(sorted(players | others)).definitions) >= len(others), "an unknown one is an error"
    with pytest.raises(InputError, match="'gap_bananas' is not defined"):
        limner.define("gap_bananas")


def test_every_warning_every_solver_and_every_value_of_a_setting_is_defined() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(limner.__file__).parent.glob("**/*.py")]
    kinds_of_warnings = {name for text in sources for name in re.findall(r'Rule\("(\w+)"', text)}
    assert kinds_of_warnings >= {"overfitting", "explosion", "collapse", "saturation"}
    for name in (*kinds_of_warnings, *get_args(Solver), "flow matching", "DPM++"):
        assert "word" in kinds(name), name
    values = {value for _, _, annotation in describe_settings() for value in words_of(annotation)}
    assert {"cosine", "unet", "adamw", "logit-normal"} <= values
    assert limner.define(sorted(values)).definitions, "an unknown one is an error"
    assert [row["text"].partition(":")[0] for row in limner.define("cosine").definitions] == ["shape=cosine"]
    assert {row["kind"] for row in limner.define("hinge").definitions} == {"word"}, "a value only where there is nothing else"


def words_of(annotation: object) -> Iterator[str]:
    """The words among the values of a type."""
    for part in get_args(annotation):
        yield from [part] if isinstance(part, str) else words_of(part)


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
