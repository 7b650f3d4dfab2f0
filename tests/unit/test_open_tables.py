"""Metrics and detectors that are registered at run time are measured, reported and compared like limner's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import limner
from limner.core.errors import InputError
from limner.core.progress import Progress
from limner.data.prepare import prepare
from limner.metrics.distribution.frechet import Null
from limner.metrics.features.detectors import Detector, Shape
from limner.metrics.features.summary import FeatureSummary
from limner.metrics.features.table import DETECTORS, DetectorContext, DetectorRow, detector_name, open_detector
from limner.metrics.measure import measure, resolve_names
from limner.metrics.metric import LatentMetric, Metric, PairMetric, SampleMetric
from limner.metrics.scores import METRICS
from limner.metrics.sides import Sides
from limner.metrics.stats.score import Measurement, Score


class Brightness(Detector):
    """One feature: the mean of the picture in 0..255."""

    name, dim, checksum, device = "brightness", 1, "brightness-1", torch.device("cpu")

    def __init__(self, shape: Shape) -> None:
        self.shape, self.work = shape, shape[:2]

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        return (batch.mean((1, 2, 3), keepdim=True)[:, :, 0, 0] + 1) * 127.5, None


def measure_shift(sides: Sides) -> Measurement:
    """How far the means of the features are apart; the null and the error are made up, to be recognised."""
    value = float((sides.samples.features.mean(0) - sides.real.features.mean(0)).abs().sum())
    null = sides.cached_nulls(f"shift-{SHIFT.since}", lambda: {"shift": Null((1.0, 2.0, 3.0), (4, 4))})
    return Measurement(value, 0.5, null["shift"])


SHIFT = SampleMetric(
    better="lower",
    meaning="distance of the mean features",
    measure=measure_shift,
    error="over samples",
    null="real pictures",
    cost="seconds",
    default=True,
    since="shift-1",
    aliases=("mean_shift",),
)
DETECTOR = DetectorRow(
    meaning="the brightness of a picture", open=lambda _, context: Brightness(context.shape), suffixes=(".bright",)
)


@pytest.fixture
def registered() -> Iterator[None]:
    METRICS.register("shift", SHIFT)
    DETECTORS.register("brightness", DETECTOR)
    yield
    METRICS.forget("shift")
    DETECTORS.forget("brightness")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two arrays of samples of the brightness 40 and 90, and pictures of digits' size and the brightness 0 to compare with."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    paths = {}
    for name, value, count in (("dark", 40, 30), ("bright", 90, 30), ("black", 0, 40)):
        images = np.full((count, 8, 8, 1), value, np.uint8)
        images[:, 0, 0, 0] = np.arange(count)  # no two are the same
        paths[name] = tmp_path / f"{name}.npz"
        np.savez(paths[name], images=images)
    return paths


def digits_of_the_test_split() -> NDArray[np.uint8]:
    dataset = prepare("digits")
    return dataset.images.gather(dataset.indices("test"))


def expected_shift(path: Path, real: NDArray[np.uint8]) -> float:
    means = (images.reshape(len(images), -1).mean() for images in (np.load(path)["images"], real))
    return abs(next(means) - next(means))


@pytest.mark.usefixtures("registered")
def test_evaluate_and_its_page(places: dict[str, Path], tmp_path: Path) -> None:
    words: list[Progress] = []
    options: dict[str, Any] = {"data": "digits", "features": "brightness", "out": tmp_path / "report"}
    report = limner.evaluate(str(places["dark"]), metrics=["shift"], on_progress=words.append, **options)
    assert "measuring shift" in [event.what for event in words]
    assert report["features"]["name"] == "brightness"
    score = report["metrics"]["shift"]
    assert (score["error"], score["null"]) == (0.5, 2.0)
    assert score["z"] == pytest.approx(score["value"] - 2.0)
    assert score["value"] == pytest.approx(expected_shift(places["dark"], digits_of_the_test_split()), rel=1e-5)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "lower is better: distance of the mean features" in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["metric_versions"] == {"shift": "shift-1"}
    assert "shift" in limner.evaluate(str(places["dark"]), **options)["metrics"], "it is measured by default, as its row says"


@pytest.mark.usefixtures("registered")
def test_the_value_is_known(places: dict[str, Path]) -> None:
    images = {name: np.load(path)["images"] for name, path in places.items()}
    detector = open_detector("brightness", (8, 8, 1), lambda: pytest.fail("no judge was asked for"))
    assert open_detector("some/file.BRIGHT", (8, 8, 1), lambda: detector).name == "brightness"
    summaries = {name: FeatureSummary.of(detector.features(each)) for name, each in images.items()}
    shift = measure(Sides(summaries["bright"], summaries["black"]), ["shift"])["shift"]
    assert shift.value == pytest.approx(expected_shift(places["bright"], images["black"]), rel=1e-5)
    assert 80 < shift.value < 100


@pytest.mark.usefixtures("registered")
def test_compare_knows_which_is_better(places: dict[str, Path]) -> None:
    answer = limner.compare([places["dark"], places["bright"]], data="digits", features="brightness", metrics=["shift"])
    values = [row["metrics"]["shift"]["value"] for row in answer["table"]]
    [difference] = answer["differences"]
    assert difference["metric"] == "shift"
    assert difference["difference"] == pytest.approx(values[0] - values[1])
    assert difference["claim"] == ("dark.npz" if values[0] < values[1] else "bright.npz")


def test_what_is_not_registered_is_refused_with_the_nearest_name() -> None:
    for name, hint in (("shift", r"unknown metric 'shift'"), ("kid", "did you mean 'mmd'"), ("presision", "'precision'")):
        with pytest.raises(InputError, match=hint) as error:
            resolve_names([name])
        assert "frechet, mmd, precision" in str(error.value)
    with pytest.raises(InputError, match=r"unknown features 'brightness' \(there are: judge, contrast, .*FILE\.onnx"):
        detector_name("brightness")
    METRICS.register("shift", SHIFT)
    try:
        with pytest.raises(InputError, match="did you mean 'shift'"):
            resolve_names(["Mean_Shift"])
        with pytest.raises(InputError, match="'shift' is taken"):
            METRICS.register("shift", SHIFT)
        with pytest.raises(InputError, match="'frechet' is taken"):
            METRICS.register("frechet", SHIFT)
    finally:
        METRICS.forget("shift")


# ---- what is forgotten is noticed ---------------------------------------------------------------------------------------


def fields_of(row: Metric | DetectorRow) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}


@pytest.mark.parametrize("name", ["better", "meaning", "measure", "error", "null", "cost", "default", "since"])
@pytest.mark.parametrize("row", [METRICS["frechet"], METRICS["psnr"], METRICS["mig"]], ids=["samples", "pairs", "latents"])
def test_a_forgotten_field(row: Metric, name: str) -> None:
    complete = fields_of(row)
    type(row)(**complete)
    with pytest.raises(TypeError, match=name):
        type(row)(**{key: value for key, value in complete.items() if key != name})


@pytest.mark.parametrize("name", ["meaning", "open"])
def test_a_forgotten_field_of_a_detector(name: str) -> None:
    complete = fields_of(DETECTOR)
    with pytest.raises(TypeError, match=name):
        DetectorRow(**{key: value for key, value in complete.items() if key != name})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"meaning": " "}, "meaning of a metric must not be empty"),
        ({"better": "smaller"}, "better='smaller' is none of 'lower', 'higher', 'as real'"),
        ({"error": None}, "error=None"),
        ({"needs": ("judge",)}, r"needs=\['judge'\]"),
    ],
    ids=["meaning", "better", "error", "needs"],
)
def test_a_field_that_says_nothing(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SampleMetric(**{**fields_of(SHIFT), **change})


def test_a_row_of_another_kind() -> None:
    base = {field.name: getattr(SHIFT, field.name) for field in dataclasses.fields(Metric)}
    with pytest.raises(TypeError, match="a metric is a SampleMetric, PairMetric"):
        Metric(**base)
    row: Any = DETECTOR
    with pytest.raises(InputError, match=r"is no row of limner\.metrics"):
        METRICS.register("brightness", row)
    for wrong, words in (({"is_name": False, "suffixes": ()}, "needs suffixes"), ({"suffixes": ("BRIGHT",)}, "small letters")):
        with pytest.raises(ValueError, match=words):
            DetectorRow(**{**fields_of(DETECTOR), **wrong})


def test_a_metric_that_gives_no_score_of_its_name() -> None:
    side = FeatureSummary.of(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    row = dataclasses.replace(SHIFT, measure=lambda _: {"another": Score(1.0)})
    METRICS.register("shift", row)
    try:
        with pytest.raises(InputError, match=r"^shift: measured, but no score of that name came back from .*test_open_tables"):
            measure(Sides(side, side), ["shift"])
        with pytest.raises(ValueError, match="'psnr' is no metric of samples"):
            measure(Sides(side, side), ["psnr"])
    finally:
        METRICS.forget("shift")


def test_a_detector_without_a_checksum() -> None:
    DETECTORS.register("nameless", DetectorRow(meaning="lacks much", open=lambda _, context: Bare()))
    try:
        with pytest.raises(InputError, match=r"^the detector 'nameless' lacks name, shape, work, dim, checksum, device; set"):
            open_detector("nameless", (8, 8, 1), lambda: pytest.fail("no judge was asked for"))
    finally:
        DETECTORS.forget("nameless")


class Bare(Detector):
    """Sets none of the attributes."""

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        return batch, None


def test_progress_of_a_download_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Progress] = []

    def opened(_: str, context: DetectorContext) -> Detector:
        context.on_progress(Progress("fetching weights (MiB)", 1, 2))
        return Brightness(context.shape)

    monkeypatch.setitem(DETECTORS.own, "fetched", DetectorRow(meaning="comes from far", open=opened))
    open_detector("fetched", (8, 8, 1), lambda: pytest.fail("no judge was asked for"), events.append)
    assert [event.what for event in events] == ["fetching weights (MiB)"]


def test_kinds_cover_the_table() -> None:
    """A metric of each kind is measured by a function of its own; a row of no kind would never be measured."""
    assert {type(row).__name__ for row in METRICS.values()} == {
        "SampleMetric",
        "PairMetric",
        "LikelihoodMetric",
        "LatentMetric",
    }
    assert all(isinstance(METRICS[name], LatentMetric) for name in resolve_names(["disentanglement"]))
    assert isinstance(METRICS["mse"], PairMetric)
