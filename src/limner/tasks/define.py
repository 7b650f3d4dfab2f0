"""Verb: say what a word means that limner uses."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args, get_origin

from pydantic import Field

from limner.core.errors import InputError, nearest
from limner.core.fields import Cli
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result

MAX_WORDS = 4
"""Words of the longest term."""
CHOICE = "value of a setting"
"""The kind of an entry that is looked at where a word has no other meaning."""


class DefineRequest(Request):
    """Say what a word of limner's reports, settings or help means.

    Metrics, presets, detectors, data sets, settings and the words of reports and curves are known; without one all are listed.
    """

    word: Annotated[str | list[str] | None, Cli("WORD…", is_argument=True)] = Field(
        None, description="One word or more, such as coverage, R1, posterior collapse or method.width."
    )


class DefineResult(Result):
    """`definitions` has a row for every meaning of the word: `word`, `kind`, `text` and `reference` (paper or page)."""

    definitions: list[dict[str, str]]


@dataclass(frozen=True)
class _Entry:
    """One meaning of a word, and all words that stand for it."""

    word: str
    kind: str
    text: str
    reference: str = ""
    synonyms: tuple[str, ...] = ()

    def row(self) -> dict[str, str]:
        return {"word": self.word, "kind": self.kind, "text": self.text, "reference": self.reference}


def define(request: DefineRequest, on_progress: OnProgress) -> DefineResult:
    """Looks words up among metrics, presets, families, detectors, data sets, settings, and the other words that limner uses.

    Capital letters, accents, hyphens and underscores make no difference, and of a setting the last part is enough. Several
    words are one term where there is such a term, and otherwise a term each. Errors: `InputError` for a word that is not known,
    with the nearest one.
    """
    if request.word is None or request.word == []:
        return DefineResult(definitions=[entry.row() for entry in _entries(with_settings=False)])
    parts = request.word.split() if isinstance(request.word, str) else [part for one in request.word for part in one.split()]
    entries = list(_entries())
    matches: list[_Entry] = []
    while parts:
        for count in range(min(len(parts), MAX_WORDS), 0, -1):
            if own := _meanings(" ".join(parts[:count]), entries):
                break
        if not own:
            names = sorted({name for entry in entries for name in (entry.word, *entry.synonyms)})
            raise InputError(
                f"'{parts[0]}' is not defined{nearest(parts[0], names)} (`limner define` lists the words; `limner VERB --help` "
                "explains verbs)"
            )
        matches += [entry for entry in own if entry not in matches]
        parts = parts[count:]
    return DefineResult(definitions=[entry.row() for entry in matches])


def _meanings(word: str, entries: Sequence[_Entry]) -> list[_Entry]:
    """The entries that a word, or several, stand for.

    Where there are none: the settings whose last part they are; the value that a setting may have; or a curve, by the entry of
    its beginning and those of the rest, such as ``held_out_`` and ``discriminator``.
    """
    word = _normalise(word)
    matches = [entry for entry in entries if word in {_normalise(name) for name in (entry.word, *entry.synonyms)}]
    if matches := [entry for entry in matches if entry.kind != CHOICE] or list(dict.fromkeys(matches)):
        return matches
    settings = [entry for entry in entries if entry.kind == "setting" and _normalise(entry.word).endswith(f".{word}")]
    return settings or _curve_meanings(word, entries)


def _curve_meanings(word: str, entries: Sequence[_Entry]) -> list[_Entry]:
    """The entries of a curve whose name begins as a word of the glossary that ends with ``_`` or ``/``."""
    for entry in entries:
        beginning = entry.word.replace("_", " ")
        if entry.word.endswith(("_", "/")) and word.startswith(beginning):
            rest = _meanings(word.removeprefix(beginning), entries)
            return [entry, *rest] if rest else []
    return []


def _normalise(word: str) -> str:
    """
    >>> _normalise(" Held-Out"), _normalise("Fréchet")
    ('held out', 'frechet')
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
    return plain.strip().lower().replace("-", " ").replace("_", " ")


def _entries(with_settings: bool = True) -> Iterator[_Entry]:
    """Every word with its meaning, from the glossary and the tables."""
    from limner.core.glossary import GLOSSARY
    from limner.data.sources import BUILT_IN
    from limner.metrics.features.table import DETECTORS
    from limner.metrics.scores import METRICS
    from limner.recipes.registry import METHODS, PRESETS, sampling_fields
    from limner.recipes.settings import describe_settings

    for word, definition in GLOSSARY.items():
        yield _Entry(word, "word", definition.text, definition.reference, definition.synonyms)
    for name, metric in METRICS.items():
        better = {"lower": " Lower is better.", "higher": " Higher is better.", "as real": " Best where real pictures are."}
        published = tuple(metric.published_names.values())
        in_features = "".join(f" In the features of {key} it is {value}." for key, value in metric.published_names.items())
        text = f"{metric.meaning[0].upper()}{metric.meaning[1:]}.{better[metric.better]}{in_features}"
        yield _Entry(name, "metric", text, "docs/judging.md", (*metric.aliases, *published))
    for name, preset in PRESETS.items():
        yield _Entry(name, "preset", f"{preset.line[0].upper()}{preset.line[1:]}.", preset.paper)
    for name, family in METHODS.items():
        yield _Entry(name, "family", f"{family.line[0].upper()}{family.line[1:]}.", family.paper)
    for name, row in DETECTORS.items():
        yield _Entry(name, "detector", f"{row.meaning[0].upper()}{row.meaning[1:]}.", "docs/judging.md")
    for name, line in BUILT_IN.items():
        yield _Entry(name, "data set", f"{line[0].upper()}{line[1:]}.", "docs/data.md")
    for name, info in sampling_fields().items():
        yield _Entry(name, "sampling setting", f"{info.description}")
        if with_settings:
            yield from _choice_entries(name, info.annotation, f"{info.description}")
    if with_settings:
        for key, text, annotation in dict.fromkeys(describe_settings()):
            yield _Entry(key, "setting", text)
            yield from _choice_entries(key, annotation, text)


def _choice_entries(key: str, annotation: object, text: str) -> Iterator[_Entry]:
    """Each of the words that the setting `key` of this type may have as its value, with the last part of the key alone: many
    networks have the same settings."""
    name = key.rpartition(".")[2]
    if get_origin(annotation) is Literal:
        for value in get_args(annotation):
            if isinstance(value, str):
                yield _Entry(value, CHOICE, f"{name}={value}: {text}")
        return
    for part in get_args(annotation):
        yield from _choice_entries(key, part, text)
