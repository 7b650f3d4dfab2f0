"""Faults in code of others: one line that names the row, the package and the place; nothing half written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import limner
from limner.core.capabilities import Codec
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec, MethodConfig, Sampling
from limner.core.errors import InputError, PackageError
from limner.core.extensions import attribute_errors
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.optimiser_settings import Optimiser
from limner.core.verb import Request, Result, Verb
from limner.data.prepare import prepare
from limner.data.source import DataSource
from limner.data.sources import SourceKind
from limner.metrics.distribution.frechet import Null
from limner.metrics.features.detectors import Detector
from limner.metrics.features.summary import FeatureSummary
from limner.metrics.features.table import DetectorRow
from limner.metrics.measure import measure, measure_pairs
from limner.metrics.metric import PairMetric, SampleMetric
from limner.metrics.sides import Sides
from limner.metrics.stats.score import Measurement, Score
from limner.recipes.registry import Family, Preset

OURS = __name__.partition(".")[0]
"""The package that messages name."""
QUIET = ("batch.size=16", "score.points=0", "previews.count=4", "data.limit=60")


def fail(*_: object) -> Any:
    raise ZeroDivisionError("division\nby zero")


def failure(what: str) -> str:
    """A pattern for the line about a row that `fail` stands in."""
    place = rf" \({re.escape(__file__)}, line {fail.__code__.co_firstlineno + 1}\)"
    return rf"^{re.escape(what)} of {OURS} failed: ZeroDivisionError: division by zero{place}; mend it there$"


def gave(what: str, text: str, expected: str) -> str:
    return rf"^{re.escape(f'{what} of {OURS} gave {text}, and not {expected}; mend it there')}$"


# ---- whose fault it is


def test_only_errors_of_others_are_attributed_to_them() -> None:
    with pytest.raises(PackageError, match=failure("the metric 'hue'")), attribute_errors("the metric 'hue'", fail):
        fail()
    for own in (prepare, Measurement, FeatureSummary.of):
        with pytest.raises(ZeroDivisionError), attribute_errors("the metric 'hue'", own):
            fail()
    for error in (InputError("too few pictures"), MemoryError(), torch.OutOfMemoryError("out"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised, attribute_errors("the metric 'hue'", fail):
            raise error
        assert raised.value is error
    with pytest.raises(PackageError, match="failed: SystemExit: 3 "), attribute_errors("the metric 'hue'", fail):
        raise SystemExit(3)
    with pytest.raises(PackageError) as long, attribute_errors("the metric 'hue'", fail):
        raise ValueError("x" * 9999)
    assert len(str(long.value)) < 600


# ---- metrics


def row(measure: Callable[[Sides], Any]) -> SampleMetric:
    return SampleMetric(
        better="lower",
        meaning="made up",
        measure=measure,
        error="over samples",
        null="none",
        cost="seconds",
        default=False,
        since="hue-1",
    )


@pytest.fixture
def hue() -> Iterator[Callable[[Any], None]]:
    """Registers a row as the metric `hue`."""
    names: list[str] = []

    def register(metric: Any) -> None:
        for name in names:
            limner.METRICS.forget(names.pop(names.index(name)))
        limner.METRICS.register("hue", metric)
        names.append("hue")

    yield register
    for name in names:
        limner.METRICS.forget(name)


A_MEASUREMENT = "a Measurement or a Score (limner.metrics.stats.score)"
VALUE, ERROR = "a finite number as its value", "None or a finite number as its error"
WRONG: list[tuple[Any, str, str]] = [
    (None, "None", A_MEASUREMENT),
    (0.5, "0.5", A_MEASUREMENT),
    ((1.0, 0.1), "(1.0, 0.1)", A_MEASUREMENT),
    (Measurement(float("nan")), "nan", VALUE),
    (Measurement(float("inf")), "inf", VALUE),
    (Score(float("nan")), "nan", VALUE),
    (Measurement("3"), "'3'", VALUE),  # type: ignore[arg-type]
    (Measurement(1.0, error=float("nan")), "nan", ERROR),
    (Measurement(1.0, null=(1.0, 2.0)), "(1.0, 2.0)", "None or a Null as its null"),  # type: ignore[arg-type]
    (Measurement(1.0, null=Null((1.0, float("nan")), (4, 4))), "nan", "finite numbers as the scores of its null"),
]


@pytest.mark.parametrize(("result", "text", "expected"), WRONG, ids=range(len(WRONG)))
def test_a_metric_that_gives_no_measurement(result: Any, text: str, expected: str, hue: Callable[[Any], None]) -> None:
    side = FeatureSummary.of(torch.arange(18.0).reshape(9, 2))
    for answer in (result, {"hue": result}):
        hue(row(lambda _, answer=answer: answer))  # type: ignore[misc]
        with pytest.raises(PackageError, match=gave("the metric 'hue'", text, expected)):
            measure(Sides(side, side), ["hue"])


def test_numbers_of_any_type_become_pythons_own(hue: Callable[[Any], None]) -> None:
    """A report could not be written with one of NumPy or torch in it."""
    side = FeatureSummary.of(torch.arange(18.0).reshape(9, 2))
    for number in (np.float32(0.5), torch.tensor(0.5), np.float64(0.5)):
        hue(row(lambda _, number=number: Measurement(number, number, Null((number, number), (4, 4)))))  # type: ignore[misc]
        score = measure(Sides(side, side), ["hue"])["hue"]
        assert (score.value, score.error, score.null) == (0.5, 0.5, 0.5)
        assert {type(value) for value in (score.value, score.error, score.null)} == {float}


@pytest.mark.parametrize("own", [False, True])
def test_nothing_of_a_report_is_written_where_a_metric_fails(
    own: bool, tmp_path: Path, hue: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN left a page without its report, and the earlier report had been renamed."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    draw, out = np.random.default_rng(0), tmp_path / "report"
    np.savez(tmp_path / "a.npz", images=draw.integers(0, 256, (30, 8, 8, 1), np.uint8))
    options: dict[str, Any] = {"data": "digits", "features": "pixels", "out": out}
    limner.evaluate(tmp_path / "a.npz", metrics="frechet", **options)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "report.json" in before
    if own:  # a fault of limner's own
        nan = dataclasses.replace(limner.METRICS["sliced"], measure=lambda _: Score(float("nan")))  # type: ignore[call-arg]
        monkeypatch.setitem(limner.METRICS.own, "sliced", nan)
        monkeypatch.setattr("limner.metrics.measure.is_own", lambda code: True)
        with pytest.raises(ValueError, match="JSON"):
            limner.evaluate(tmp_path / "a.npz", metrics="frechet,sliced", **options)
    for measured, message in ((fail, failure("the metric 'hue'")), (lambda _: Measurement(float("nan")), "gave nan")):
        hue(row(measured))
        if not own:
            with pytest.raises(PackageError, match=message):
                limner.evaluate(tmp_path / "a.npz", metrics="frechet,hue", **options)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def pair(measure: Callable[[Any, Any], Any]) -> PairMetric:
    return PairMetric(
        better="lower",
        meaning="made up",
        measure=measure,
        error="over pictures",
        null="none",
        cost="seconds",
        default=False,
        since="hue-1",
    )


def test_a_metric_of_reconstructions_gives_a_number_for_each_picture(hue: Callable[[Any], None]) -> None:
    pictures = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
    hue(pair(lambda a, b: [0.0, 1.0]))
    assert measure_pairs(pictures, pictures, ["hue", "mse"])["hue"].tolist() == [0.0, 1.0]
    expected = "2 finite numbers, one for each picture"
    for result, text in ((None, "None"), (0.5, "0.5"), ([1.0, float("nan")], "[1.0, nan]"), ([1.0], "[1.0]")):
        hue(pair(lambda a, b, result=result: result))  # type: ignore[misc]
        with pytest.raises(PackageError, match=gave("the metric 'hue'", text, expected)):
            measure_pairs(pictures, pictures, ["hue"])
    hue(pair(fail))
    with pytest.raises(PackageError, match=failure("the metric 'hue'")):
        measure_pairs(pictures, pictures, ["hue"])
    assert list(measure_pairs(pictures, pictures, ["mse"])) == ["mse"], "one that nobody asked for stops nobody"


# ---- detectors


class Wrong(Detector):
    """Gives what it was made with."""

    name, checksum, device = "wrong", "wrong-1", torch.device("cpu")
    work, dim, chunk = (8, 8), 2, 4

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        self.shape, self.answer = (8, 8, 1), answer

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        result: tuple[Tensor, Tensor | None] = self.answer(batch)
        return result


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fail, failure("the detector 'wrong'")),
        (lambda _: None, "^the detector 'wrong' of .* failed: TypeError: cannot unpack"),
        (lambda _: (None, None), gave("the detector 'wrong'", "None", "a tensor [4, 2]")),
        (lambda _: (torch.zeros(4, 3), None), gave("the detector 'wrong'", "[4, 3]", "a tensor [4, 2]")),
        (lambda _: (torch.zeros(2), None), gave("the detector 'wrong'", "[2]", "a tensor [4, 2]")),
        (
            lambda _: (torch.full((4, 2), torch.nan), None),
            gave("the detector 'wrong'", "'values that are NaN or infinite'", "finite numbers"),
        ),
        (lambda _: (torch.zeros(4, 2), torch.zeros(4)), gave("the detector 'wrong'", "[4]", "a tensor [4, 4]")),
    ],
)
def test_a_detector_that_gives_no_features(answer: Any, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        Wrong(answer).outputs(np.zeros((3, 8, 8, 1), np.uint8))


def test_a_detector_that_cannot_be_opened() -> None:
    from limner.metrics.features.table import open_detector

    for opened, message in (
        (fail, failure("the detector 'wrong'")),
        (lambda *_: 3, gave("the detector 'wrong'", "3", "a limner.metrics.features.detectors.Detector")),
    ):
        limner.DETECTORS.register("wrong", DetectorRow(meaning="for a test", open=opened))
        try:
            with pytest.raises(PackageError, match=message):
                open_detector("wrong", (8, 8, 1), lambda: pytest.fail("no judge was asked for"))
        finally:
            limner.DETECTORS.forget("wrong")


# ---- methods


class PaleConfig(MethodConfig):
    kind: Literal["pale"] = "pale"
    optimiser: Optimiser = Optimiser()


class Pale(Method):
    """One colour for all pixels; `answers` replaces what its methods give."""

    answers: Mapping[str, Callable[..., Any]] = {}

    def __init__(self, config: PaleConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(codec)
        self.config, self.colour, self.size = config, nn.Linear(1, 1), spec.shape

    def players(self) -> Mapping[str, Player]:
        return {"colour": Player("colour", self.config.optimiser)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("squares", ("colour",)),)

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        own = (batches[0].images - self.colour.bias).square().flatten(1).mean(1)
        losses: Losses = self.answers["losses"](own) if "losses" in self.answers else Losses({"colour": own})
        return losses

    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        own = self.colour.bias.detach().expand(len(seeds), *self.size)
        pictures: Tensor = self.answers["sample"](own) if "sample" in self.answers else own
        return pictures


@pytest.fixture
def pale(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Callable[..., Any]], None]]:
    """Registers the family and its preset; what it gives replaces an answer of the method."""
    limner.METHODS.register("pale", Family(PaleConfig, Sampling, Pale, "for a test", "nobody"))
    limner.PRESETS.register("pale", Preset("pale", "for a test", "nobody", "method: {kind: pale}"))
    yield lambda name, answer: monkeypatch.setattr(Pale, "answers", {name: answer})
    limner.METHODS.forget("pale")
    limner.PRESETS.forget("pale")


def train(folder: Path) -> Path:
    return Path(limner.train("digits", preset="pale", out=folder, images=32, settings=QUIET).run)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fail, failure("the method Pale")),
        (lambda own: None, gave("the method Pale", "None", "Losses (limner.core.method)")),
        (lambda own: own, "gave tensor"),
        (
            lambda own: Losses({"color": own}),
            gave("the method Pale", "['color']", "a loss of the player 'colour' in phase 'squares'"),
        ),
        (
            lambda own: Losses({"colour": own.mean()}),
            gave("the method Pale", "[]", "[16], one loss of 'colour' for each picture"),
        ),
        (lambda own: Losses({"colour": 3.0}), gave("the method Pale", "3.0", "[16], one loss of 'colour' for each picture")),
    ],
)
def test_losses_that_are_none(answer: Any, message: str, pale: Any, tmp_path: Path) -> None:
    """A mean in the place of a loss for each picture was taken, and trained at a sixteenth of the rate."""
    pale("losses", answer)
    with pytest.raises(PackageError) as error:
        train(tmp_path)
    assert re.search(message, str(error.value))
    (run,) = tmp_path.iterdir()
    assert limner.Run.open(run).status()["state"] == "failed"
    assert limner.Run.open(run).status()["error"] == str(error.value)
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert "Traceback" in log, "for whoever wrote the method"
    assert ("ZeroDivisionError" in log) == (answer is fail)


def test_pictures_that_are_none(pale: Any, tmp_path: Path) -> None:
    model = limner.load(train(tmp_path))
    assert model.sample([1, 2]).shape == (2, 8, 8, 1)
    for answer, message in (
        (fail, failure("the method Pale")),
        (lambda own: None, gave("the method Pale", "None", "pictures [32, C, H, W] for 32 seeds")),
        (lambda own: own[:1], gave("the method Pale", "[1, 1, 8, 8]", "pictures [32, C, H, W] for 32 seeds")),
        (lambda own: own.permute(0, 2, 3, 1), gave("the method Pale", "[8, 8, 1]", "pictures of the shape [1, 8, 8]")),
    ):
        pale("sample", answer)
        with pytest.raises(PackageError, match=message):
            model.sample([1, 2])
        with pytest.raises(PackageError, match=message):
            limner.sample(model, count=2, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_method_that_cannot_be_built(tmp_path: Path, pale: Any) -> None:
    for build, message in (
        (fail, failure("the method 'pale'")),
        (lambda *_: None, gave("the method 'pale'", "None", "a limner.core.method.Method")),
    ):
        limner.METHODS.forget("pale")
        limner.METHODS.register("pale", Family(PaleConfig, Sampling, build, "for a test", "nobody"))
        with pytest.raises(PackageError, match=message):
            train(tmp_path)
    assert list(tmp_path.iterdir()) == [], "no run begins"


# ---- sources


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (SourceKind("a .hue file", fail, endings=(".hue",)), failure("the kind of source 'a .hue file'")),
        (
            SourceKind("a .hue file", lambda _: None, endings=(".hue",)),  # type: ignore[arg-type, return-value]
            gave("the kind of source 'a .hue file'", "None", "a limner.data.source.DataSource"),
        ),
        (SourceKind("a .hue file", fail, recognises=fail), failure("the kind of source 'a .hue file'")),
    ],
)
def test_a_source_that_cannot_be_opened(kind: SourceKind, message: str, tmp_path: Path) -> None:
    (tmp_path / "cats.hue").write_bytes(b"")
    limner.SOURCES.register("hue", kind)
    try:
        with pytest.raises(PackageError, match=message):
            prepare(tmp_path / "cats.hue")
    finally:
        limner.SOURCES.forget("hue")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"identity": fail}, failure("the source hue")),
        ({"identity": lambda *_: None}, gave("the source hue", "None", "a text as its identity")),
        ({"listing": fail}, failure("the source hue")),
        ({"listing": lambda *_: []}, gave("the source hue", "[]", "a limner.data.listing.Listing")),
    ],
)
def test_a_source_that_gives_no_listing(parts: dict[str, Any], message: str, tmp_path: Path) -> None:
    methods = {"identity": lambda *_: "1", "listing": fail, "name": "hue", "__module__": __name__, **parts}
    source = type("HueSource", (DataSource,), methods)
    limner.SOURCES.register("hue", SourceKind("hues", lambda _: source(), lambda one: isinstance(one, SimpleNamespace)))
    try:
        with pytest.raises(PackageError, match=message):
            prepare(SimpleNamespace(), out=tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
    finally:
        limner.SOURCES.forget("hue")


# ---- verbs


class HueRequest(Request):
    """For a test."""


class HueResult(Result):
    value: int


def test_a_verb_that_gives_no_result() -> None:
    def hue(request: HueRequest, on_progress: object) -> Any:
        return None

    with pytest.raises(PackageError, match=gave("the verb hue", "None", "a HueResult")):
        Verb(HueRequest, HueResult, hue).call()
