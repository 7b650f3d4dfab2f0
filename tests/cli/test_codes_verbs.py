"""Codecs and their priors on the command line: what works without a prior, without the codec's run, and what is bad input."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.helpers import NARROW, ask_to_stop, at_images
from contract.test_codes import BARE, SMALL
from contract.test_latents_kept import die
from limner.cli import main
from limner.core.images import grid
from limner.judges.judge import shuffled_rows
from limner.metrics.representation.reconstruction import psnr, ssim
from limner.pages.html import make_figure
from limner.runs.model import Loaded, load
from made import encoded, textured, write

QUICK = ["--images", "96", "batch.size=16", "score.points=0", "previews.count=4", "precision=fp32"]
SETTINGS = {
    "bare": ["--preset", "vq-vae", "stages=[]", f"method={BARE}"],
    "vqgan": ["--preset", "vqgan", *NARROW["vqgan"]],
    "gan": ["--preset", "gan", *NARROW["gan"]],
    "vae": ["--preset", "vae", *NARROW["vae"]],
}

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small finished run of each kind."""
    out = tmp_path_factory.mktemp("runs")
    for name, settings in SETTINGS.items():
        assert main(["train", "digits", "--name", name, "--out", str(out), *QUICK, *settings]) == 0
    return {path.name.partition("-")[2]: path for path in out.iterdir()}


# ---- a codec alone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--metrics", "psnr,ssim"], []], ids=["asked for", "all there are"])
def test_a_codec_is_judged_by_what_it_reconstructs(
    words: list[str], runs: dict[str, Path], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, answer = ask("evaluate", runs["bare"], *words)
    assert code == 0, answer
    model = load(runs["bare"])
    dataset = model.dataset()
    real = dataset.images.gather(dataset.indices("test"))
    back = model.reconstruct(real)
    assert list(answer["metrics"]) == (words[1].split(",") if words else ["mse", "psnr", "ssim"])
    if not words:
        mse = ((back.astype(float) - real) / 255) ** 2
        assert answer["metrics"]["mse"]["value"] == pytest.approx(mse.mean(), rel=1e-5)
    assert answer["metrics"]["psnr"]["value"] == pytest.approx(float(psnr(back, real).mean()))
    assert answer["metrics"]["ssim"]["value"] == pytest.approx(float(ssim(back, real).mean()))
    assert answer["metrics"]["psnr"]["error"] == pytest.approx(float(psnr(back, real).std()) / len(real) ** 0.5)
    assert (answer["count"], answer["features"]) == (len(real), None)
    assert json.loads(Path(answer["report"]).read_text())["metrics"] == answer["metrics"]
    page = Path(answer["page"]).read_text()
    shown = real[shuffled_rows(dataset, "test") - dataset.splits["test"].start][:64]
    for images, words in (
        (shown, "real pictures (test split)"),
        (model.reconstruct(shown), "the same pictures, reconstructed"),
    ):
        address = make_figure(grid(images), words, words).data_url
        assert f'<img alt="{words}" src="{address}"></label><figcaption>{words}</figcaption>' in page


@pytest.mark.parametrize(
    "words", ["bare --metrics psnr", "vqgan --metrics psnr,ssim", "vae --metrics psnr,elbo --importance 2"]
)
def test_what_needs_no_samples_draws_none(
    words: str, runs: dict[str, Path], ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("draws")

    monkeypatch.setattr(Loaded, "sample", never)
    monkeypatch.setattr("limner.evaluation.sample_scores.judge_for", never)
    kind, *rest = words.split()
    code, answer = ask("evaluate", runs[kind], *rest)
    assert code == 0, answer
    assert set(rest[1].split(",")) <= set(answer["metrics"])
    assert answer.get("likelihood", {}).get("draws") == (2 if kind == "vae" else None)
    assert main(["evaluate", str(runs[kind]), *rest]) == 0
    out = capsys.readouterr().out
    assert "180 real pictures (digits, test)" in out
    if kind == "vae":  # a number of nats means nothing without what it is of, and by how many draws
        assert "in nats per picture, 2 draws each, of the pictures' grey values" in out
    assert not re.search(r"[{}]|None", out)


# ---- what takes codes for latents, and what does not ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bare", "vqgan"])
def test_embed_gives_codes(kind: str, runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    code, answer = ask("embed", runs[kind], "--split", "test", "--out", tmp_path / "codes.npz")
    assert code == 0, answer
    assert (answer["kind"], answer["shape"], answer["count"]) == ("codes", [4, 4], 180)
    with np.load(answer["file"], allow_pickle=False) as file:
        codes, shape = file["latents"], file["shape"]
    assert codes.dtype == np.int64
    assert (codes.shape, shape.tolist()) == ((180, 16), [4, 4])
    assert 0 <= codes.min() < codes.max() < 24
    model = load(runs[kind])
    dataset = model.dataset()
    assert np.array_equal(codes.reshape(-1, 4, 4), model.encode_pictures(dataset.images.gather(dataset.indices("test"))))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("classify KIND", "are codes; classify takes continuous ones"),
        ("classify KIND a.png", "are codes; classify takes continuous ones"),
        ("interpolate KIND --seeds 1,2", "draws from no vector of latents, so it cannot interpolate"),
        ("interpolate KIND a.png a.png", "draws from no vector of latents, so it cannot interpolate"),
        ("traverse KIND", "draws from no vector of latents, so none can be varied"),
        ("traverse KIND a.png --latents 0", "draws from no vector of latents, so none can be varied"),
        ("evaluate KIND --metrics disentanglement", "pictures with known factors"),
    ],
)
@pytest.mark.parametrize("kind", ["bare", "vqgan"])
def test_verbs_that_need_a_vector_refuse_codes(
    kind: str, words: str, hint: str, runs: dict[str, Path], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", encoded(textured(1, 8, 8, 1)))
    code, answer = ask(*words.replace("KIND", str(runs[kind])).split())
    assert code == 2, answer
    assert hint in answer["error"]


def test_codes_of_scenes_are_not_scored_for_disentanglement(ask: Ask, tmp_path: Path) -> None:
    data = ["data.size=16", "data.limit=100"]
    code, trained = ask("train", "scenes-1", "--out", tmp_path, *SETTINGS["bare"], *QUICK, *data)
    assert code == 0, trained
    code, answer = ask("evaluate", trained["run"], "--metrics", "disentanglement")
    assert code == 2, answer
    assert answer["error"].endswith("(vq-vae) are codes of the shape 4x4; disentanglement is measured on vectors")


# ---- half trained -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that were stopped while their codec was learning (at 32 of 48 and of 96 images), and where it had just learned."""
    out = tmp_path_factory.mktemp("halves")
    for name, kind, images in (("first", "vqgan", 32), ("alone", "bare", 32), ("border", "vqgan", 48)):
        with at_images(images - 16, ask_to_stop):  # the step under way is finished
            words = ["--name", name, "--out", str(out), *QUICK, *SETTINGS[kind]]
            assert main(["train", "digits", *words]) == 130
    return {path.name.partition("-")[2]: path for path in out.iterdir()}


def test_a_run_stopped_before_its_prior_is_to_be_resumed(halves: dict[str, Path], ask: Ask) -> None:
    for words in (["sample", halves["first"]], ["evaluate", halves["first"], "--metrics", "frechet"]):
        code, answer = ask(*words)
        assert code == 2, answer
        assert answer["error"].endswith(f"go on with `limner resume {halves['first']}`")
        assert "--preset prior" not in answer["error"]
    code, answer = ask("sample", halves["alone"])
    assert (code, "--preset prior codec=" in answer["error"]) == (2, True), "it has no prior to come"


@pytest.mark.parametrize("name", ["first", "alone"])
def test_a_half_trained_codec_gets_no_prior(name: str, halves: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    code, answer = ask(
        "train", "digits", "--preset", "prior", "--out", tmp_path / "out", f"codec={halves[name]}", *SMALL, *QUICK
    )
    assert code == 2, answer
    assert answer["error"].startswith(f"the codec of {halves[name]} is half trained (")
    assert answer["error"].endswith(f"finish it with `limner resume {halves[name]}`")
    assert not (tmp_path / "out").exists()


def test_a_codec_that_was_finished_before_the_run_was_stopped_serves(halves: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    settings = [f"codec={halves['border']}", *SMALL, *QUICK]
    code, answer = ask("train", "digits", "--preset", "prior", "--out", tmp_path, *settings)
    assert code == 0, answer


# ---- without the codec's run --------------------------------------------------------------------------------------------


def test_a_finished_prior_needs_its_codecs_run_no_longer(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    codec = shutil.copytree(runs["vqgan"], tmp_path / "codec")
    code, answer = ask("train", "digits", "--preset", "prior", "--out", tmp_path / "runs", f"codec={codec}", *SMALL, *QUICK)
    assert code == 0, answer
    run = answer["run"]
    _, before = ask("sample", run, "--seeds", "3", "--npz", tmp_path / "before.npz", "--out", tmp_path / "before")
    shutil.rmtree(codec)
    code, after = ask("sample", run, "--seeds", "3", "--npz", tmp_path / "after.npz", "--out", tmp_path / "after")
    assert code == 0, after
    with np.load(before["npz"]) as one, np.load(after["npz"]) as other:
        assert np.array_equal(one["images"], other["images"])
    code, answer = ask("resume", run, "--images", "160")
    assert (code, answer.get("images")) == (0, 160), answer
    words = ["--count", "64", "--features", "pixels", "--metrics", "frechet,psnr"]
    code, answer = ask("evaluate", run, *words)
    assert code == 0, answer
    assert set(answer["metrics"]) == {"frechet", "psnr"}
    code, answer = ask("reconstruct", run, write(tmp_path / "a.png", encoded(textured(1, 8, 8, 1))))
    assert (code, answer.get("prepared")) == (0, {}), answer


def test_a_prior_that_never_saved_needs_it(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    codec = shutil.copytree(runs["bare"], tmp_path / "codec")
    settings = [f"codec={codec}", *SMALL, *QUICK, "checkpoints.every=1"]
    with at_images(32, die):
        code, answer = ask("train", "digits", "--preset", "prior", "--out", tmp_path / "runs", *settings)
    assert code == 1
    (run,) = (tmp_path / "runs").iterdir()
    shutil.move(codec, tmp_path / "moved")
    code, answer = ask("resume", run)
    assert code == 2
    assert f"codec={codec}: no run at {codec}" in answer["error"]
    shutil.move(tmp_path / "moved", codec)
    code, answer = ask("resume", run)
    assert (code, answer.get("images")) == (0, 96), answer


# ---- bad input ----------------------------------------------------------------------------------------------------------

PRIOR = "train digits --preset prior --out out"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (f"{PRIOR} codec=GAN", "prior draws codes; GAN (gan) makes no latents; give codec= a run of vq-vae, fsq or vqgan"),
        (f"{PRIOR} codec=VAE", "VAE (vae) makes continuous latents; give codec= a run of vq-vae, fsq or vqgan"),
        (PRIOR, "a prior draws codes, and nothing here makes any; give codec=RUN"),
        (f"{PRIOR} codec=", "a prior draws codes, and nothing here makes any; give codec=RUN"),
        (f"{PRIOR} codec=runs/moved", "codec=runs/moved: no run at runs/moved; `limner runs runs` lists what is there; where"),
        (f"{PRIOR} codec=0007", "codec=0007: no run at 0007"),
        (f"{PRIOR} codec=BEGUN", "has no complete checkpoint yet"),
        (f"{PRIOR} codec=CUT", "ema.safetensors is damaged"),
        (f"{PRIOR} codec=BARE data.size=16", "these are 16x16 with 1; set data.size=8x8 data.channels=1"),
        (f"{PRIOR} codec=BARE data.channels=3", "these are 8x8 with 3; set data.size=8x8 data.channels=1"),
        ("train colours --preset prior --out out codec=BARE", "BARE encodes pictures of 8x8 with 1 channel(s), these are 12x8"),
        (f"{PRIOR} --dry-run codec=GAN", "prior draws codes; GAN (gan) makes no latents"),
        ("sample BARE", "limner train digits --preset prior codec=BARE"),
        ("evaluate BARE --metrics frechet", "limner train digits --preset prior codec=BARE"),
        ("evaluate BARE --metrics psnr,coverage", "limner train digits --preset prior codec=BARE"),
        ("evaluate BARE --importance 5", "BARE (vq-vae) bounds no likelihood; train a vae for one"),
        ("evaluate VAE --importance 0", "0 importance samples bound nothing; give 1 (the ELBO) or more"),
        ("evaluate VAE --importance -3", "-3 importance samples bound nothing"),
        ("evaluate VAE --importance few", "--importance"),
        ("evaluate VAE --metrics nll --importance 0", "0 importance samples bound nothing"),
        ("evaluate GAN --importance 0", "0 importance samples bound nothing"),
        ("evaluate GAN --metrics nll", "GAN (gan) bounds no likelihood; train a vae for one"),
        ("evaluate GAN --metrics ssim", "GAN has no encoder (gan); train one that has"),
        ("evaluate some.npz --data digits --metrics psnr", "psnr and ssim are of pictures that went through a model"),
        ("evaluate some.npz --data digits --metrics nll", "give a run, or leave elbo, nll, bits_per_dim out"),
        ("evaluate some.npz --data digits --importance 0", "give a run, or leave --importance out"),
    ],
)
def test_bad_input_is_one_line(
    words: str, hint: str, runs: dict[str, Path], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        write(tmp_path / "colours" / f"{number}.png", encoded(textured(number, 12, 8)))
    np.savez(tmp_path / "some.npz", images=np.zeros((40, 8, 8, 1), np.uint8))
    (tmp_path / "runs").mkdir()
    places = {name.upper(): str(path) for name, path in runs.items()}
    places |= {
        "BEGUN": str(shutil.copytree(runs["bare"], tmp_path / "begun")),
        "CUT": str(shutil.copytree(runs["bare"], tmp_path / "cut")),
    }
    for complete in (tmp_path / "begun").glob("checkpoints/*/COMPLETE"):
        complete.unlink()
    for weights in (tmp_path / "cut").glob("checkpoints/*/ema.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-100])
    for name, place in places.items():
        words, hint = re.sub(rf"\b{name}\b", place, words), re.sub(rf"\b{name}\b", place, hint)
    code, answer = ask(*words.split())
    assert code == 2, answer
    assert hint in answer["error"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["bare", "vqgan"])
def test_pictures_of_another_size_or_mode_are_prepared_and_it_is_said(
    kind: str, runs: dict[str, Path], ask: Ask, tmp_path: Path
) -> None:
    mine = [
        write(tmp_path / "wide.png", encoded(textured(1, 20, 30))),
        write(tmp_path / "grey.jpg", encoded(textured(2, 9, 9, 1), "JPEG")),
        write(tmp_path / "fits.png", encoded(textured(3, 8, 8, 1))),
    ]
    code, answer = ask("reconstruct", runs[kind], *mine, "--out", tmp_path / "out")
    assert code == 0, answer
    assert answer["prepared"] == {
        str(mine[0]): "20x30 RGB -> 8x8 grey (crop)",
        str(mine[1]): "9x9 L -> 8x8 grey",
    }
    assert len(answer["errors"]) == len(answer["psnr"]) == len(answer["ssim"]) == 3
    assert answer["method"] == "encoder"
