"""What the package adds is there, and does what it says: `pytest` beside an installed limner-plugin.

The runs are so small that each takes a second. They are made by Python functions here; the command line calls the same ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import limner

SMALL = (
    "data.limit=60",
    "data.size=16",
    "batch.size=16",
    "checkpoints.every=0.5",
    "previews.every=1",
    "previews.count=4",
    "score.points=0",
    "method.width=16",
)
CAPTION = "a large blue circle on a dark background"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(out: Path) -> Path:
    """A run of the method on 128 pictures of scenes, with one checkpoint in the middle and one at the end."""
    return Path(limner.train("scenes", preset="letters", images=128, out=out, settings=SMALL).run)


def weights(run: Path, name: str = "model") -> dict[str, list[float]]:
    """Those of the checkpoint at 128 images: `model` as they are, `ema` their moving average."""
    tensors = load_file(run / "checkpoints" / "000000128" / f"{name}.safetensors")
    return {key: tensor.flatten().tolist() for key, tensor in tensors.items()}


def test_a_resumed_run_has_the_weights_of_one_that_was_never_interrupted(run: Path, out: Path) -> None:
    copy = Path(shutil.copytree(run, out / "copy"))
    shutil.rmtree(copy / "checkpoints" / "000000128")
    limner.resume(copy)
    assert weights(copy) == weights(run)
    assert weights(copy, "ema") == weights(run, "ema")


def test_a_run_that_is_made_longer_has_the_weights_of_one_that_was_planned_so(run: Path, out: Path) -> None:
    short = Path(limner.train("scenes", preset="letters", images=64, out=out, settings=SMALL).run)
    assert limner.resume(short, images=128).images == 128
    assert weights(short) == weights(run)


def test_a_caption_and_a_choice_of_how_to_draw_change_the_picture(run: Path) -> None:
    model = limner.load(run)
    mean = model.sample(range(2), text=CAPTION, spread=0)
    assert np.array_equal(mean[0], mean[1]), "without spread every seed gives the mean picture of the caption"
    assert not np.array_equal(mean[0], model.sample([0], text="a small red ring on a light background", spread=0)[0])
    drawn = model.sample(range(2), text=CAPTION)
    assert not np.array_equal(drawn[0], drawn[1])
    distances = [abs(model.sample([0], text=CAPTION, spread=x)[0].astype(int) - mean[0]).mean() for x in (0.1, 0.2)]
    assert 0 < distances[0] < distances[1]


def test_a_misspelt_choice_is_refused(run: Path) -> None:
    with pytest.raises(limner.InputError, match="'sprad'; did you mean 'spread'"):
        limner.sample(run, sampling={"sprad": 0})
    with pytest.raises(limner.InputError, match="spread -1 is out of range"):
        limner.sample(run, sampling={"spread": -1})
    with pytest.raises(limner.InputError, match=r"has no sampling setting 'truncation' \(there are: spread\)"):
        limner.sample(run, truncation=0.5)


def test_the_mean_picture_has_the_colour_that_the_caption_names(out: Path) -> None:
    """Of flat pictures in two colours, with a little noise."""
    colours = np.where(np.arange(200)[:, None] % 2, (200, 40, 40), (40, 40, 200))[:, None, None]
    images = (colours + np.random.default_rng(0).integers(-20, 20, (200, 8, 8, 3))).astype(np.uint8)
    source = {"images": images, "captions": ["a red picture" if number % 2 else "one in blue" for number in range(200)]}
    settings = (*SMALL[2:], "method.optimiser.lr=0.01")
    run = limner.train(source, preset="letters", images=6400, out=out, settings=settings).run
    model = limner.load(run)
    for text, colour in (("a red picture", (200, 40, 40)), ("one in blue", (40, 40, 200))):
        mean = model.sample([0], text=text, spread=0)[0].mean((0, 1))
        assert np.abs(mean - colour).max() < 25, (text, mean)


def test_pictures_without_captions_have_one_mean(out: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    run = limner.train(images, preset="letters", images=64, out=out, settings=SMALL[2:]).run
    assert limner.load(run).sample(range(3)).shape == (3, 8, 8, 1)
    with pytest.raises(limner.InputError, match="was trained without captions"):
        limner.sample(run, text=CAPTION)


def test_the_metric_is_the_difference_of_the_means(run: Path, tmp_path: Path) -> None:
    pictures = limner.sample(run, count=40, out=tmp_path / "pictures").files
    data = limner.load(run).dataset()
    report = limner.evaluate(
        tmp_path / "pictures", data=data.path, metrics="brightness,frechet", features="pixels", out=tmp_path / "report"
    )
    samples = np.stack([np.asarray(Image.open(file)) for file in pictures]).mean((1, 2, 3))
    real = data.images.gather(data.indices(report.reference["split"])).mean()
    score = report.metrics["brightness"]
    assert score["value"] == pytest.approx(abs(samples.mean() - real), rel=1e-6)
    assert score["error"] == pytest.approx(samples.std(ddof=1) / 40**0.5, rel=1e-6)
    assert "difference of the mean brightness" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_the_tiles_of_a_sheet_are_pictures(tmp_path: Path, out: Path) -> None:
    sheet = np.random.default_rng(0).integers(0, 256, (50, 35, 3), dtype=np.uint8)  # 6 x 4 tiles, and a rest on two sides
    path = tmp_path / "pets.8x8.sheet.png"
    Image.fromarray(sheet).save(path)
    assert limner.check(path).images == 24
    data = limner.open_dataset(Path(limner.prepare(path).path))
    assert data.name == "pets"
    tiles = {sheet[y : y + 8, x : x + 8].tobytes() for y in range(0, 48, 8) for x in range(0, 32, 8)}
    assert {image.tobytes() for image in data.images.gather(np.arange(24))} == tiles
    assert limner.train(path, preset="letters", images=32, out=out, settings=SMALL[2:]).images == 32


def test_what_is_no_sheet_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "pets.8x8.sheet.png")
    (tmp_path / "cats.4x4.sheet.png").write_bytes(b"no picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "dogs.sheet.png")
    for name, words in (("pets.8x8", "smaller than one tile of 8x8"), ("cats.4x4", "cannot be read"), ("dogs", "how large")):
        with pytest.raises(limner.InputError, match=words):
            limner.prepare(tmp_path / f"{name}.sheet.png")


def test_the_verb_draws_the_mean_of_samples(run: Path, tmp_path: Path) -> None:
    events: list[limner.Progress] = []
    result = limner.average(run, count=70, out=tmp_path / "mean.png", on_progress=events.append)  # type: ignore[attr-defined]
    mean = limner.load(run).sample(range(70)).mean(0, dtype=np.float64).round()
    assert np.array_equal(np.asarray(Image.open(result.file)), mean)
    assert result["brightness"] == pytest.approx(mean.mean())
    assert [(event.what, event.done, event.total) for event in events] == [("averaging", 64, 70), ("averaging", 70, 70)]
    assert limner.average(run, count=1).file == str(run / "average.png")  # type: ignore[attr-defined]
    with pytest.raises(limner.InputError, match="count 0 cannot be: it should be a whole number from 1 to 10000"):
        limner.average(run, count=0)  # type: ignore[attr-defined]
