"""Codes: a codec that learns them, the prior that draws them, in one run or in two; and what goes wrong with either."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import limner
from contract.helpers import (
    NARROW,
    QUIET,
    ask_to_stop,
    assert_metrics_once,
    assert_same_weights,
    at_images,
    drawer,
    method_of,
    outcome_of,
    pictures_like,
    run_of,
    stepper_of,
)
from contract.test_losses_contract import SHAPE, duplicate
from limner.core.cond import Batch, Cond
from limner.core.method import StepContext
from limner.data.prepare import prepare
from limner.methods.vq.config import PriorSampling, VqVaeSampling
from limner.methods.vq.prior import Prior
from limner.methods.vq.vqvae import VqVae
from limner.nets.quantise import VectorQuantiser
from limner.runs.run import Run
from limner.training.logger import Logger

CODECS = ["vq-vae", "fsq", "vqgan"]
every_codec = pytest.mark.parametrize("preset", CODECS)

BARE = "{kind: vqvae, width: 8, widest: 16, blocks: 1, codes: 24, dim: 4}"
SMALL = ("method.width=16", "method.depth=2", "method.heads=2")


def codec_of(preset: str, shape: tuple[int, int, int] = (8, 8, 1), *settings: str) -> VqVae:
    method = method_of(preset, shape, *settings, stage=0)
    assert isinstance(method, VqVae)
    return method


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that trained a codec and nothing else."""
    return run_of("vq-vae", tmp_path_factory.mktemp("bare"), "stages=[]", f"method={BARE}", narrow=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of both stages."""
    return run_of("vq-vae", tmp_path_factory.mktemp("whole"), "checkpoints.every=0.2", "checkpoints.keep=9", images=160)


# ---- the codec ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("absolute=0.2", "adversarial=0.1", "features=0.3"), ("normalised=true",)], ids=str)
@every_codec
def test_duplicating_the_batch_changes_no_loss_of_a_codec(preset: str, more: tuple[str, ...]) -> None:
    duplicate(codec_of(preset, SHAPE, *(f"stages.codec.method.{setting}" for setting in more)))


@pytest.mark.parametrize("number_format", ["fp32", "bf16"])
@every_codec
def test_each_phase_of_a_codec_moves_its_players_and_the_codes(preset: str, number_format: str) -> None:
    method = codec_of(preset)
    stepper = stepper_of(method, 8, 2, number_format)
    draw = drawer(pictures_like(16, (8, 8, 1), device=method.device))
    for phase in stepper.phases:
        before = {name: value.clone() for name, value in method.state_dict().items()}
        place = stepper.phases.index(phase)
        stepper._update([(place, phase)], draw, StepContext(0, 0.7))
        moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
        modules = {method.players()[player].module for player in phase.players}
        assert {name.split(".")[0] for name in moved} == modules
        assert "coder.quantiser.counts" in moved
        assert ("coder.quantiser.codes" in moved) == (preset != "fsq")
        iterated = {name for name in moved if name.endswith(".u")}  # the vectors of spectral normalisation, with their player
        assert len(iterated) == (3 if phase.name == "adversarial" else 0), "that of a single logit is ±1"
    assert {p.name for p in stepper.phases} == ({"codes", "adversarial"} if preset == "vqgan" else {"codes"})


def test_the_forward_pass_moves_no_codes() -> None:
    method = codec_of("vq-vae")
    before = {name: value.clone() for name, value in method.state_dict().items()}
    images = pictures_like(8, (8, 8, 1), device=method.device)
    method.losses("codes", (Batch(images),), StepContext(0, 0.1))
    method.decode(method.encode(images))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@every_codec
def test_codes_are_codes(preset: str) -> None:
    """Indices of the codec's shape and vocabulary; the same under autocast; a decoder that hears every one of them."""
    method = codec_of(preset, (28, 20, 3)).eval()
    assert method.kind == "codes"
    assert method.shape == (7, 5)
    images = pictures_like(5, (28, 20, 3), device=method.device)
    codes = method.encode(images)
    assert codes.dtype == torch.int64
    assert codes.shape == (5, 7, 5)
    assert method.vocabulary == {"vq-vae": 24, "vqgan": 24, "fsq": 36}[preset]
    assert 0 <= int(codes.min()) <= int(codes.max()) < method.vocabulary
    formats: list[torch.dtype] = []
    method.coder.encoder.register_forward_hook(lambda module, given, found: formats.append(found.dtype))
    with torch.autocast(method.device.type, dtype=torch.bfloat16):
        assert torch.equal(method.encode(images), codes)
    assert formats == [torch.float32], "a code is one or another"
    other = codes.clone()
    other[:, 3, 2] = (other[:, 3, 2] + 1) % method.vocabulary
    changed = (method.decode(other) - method.decode(codes)).abs().amax((0, 1))
    assert float(changed.max()) > 0
    assert method.decode(codes).shape == images.shape


def test_a_codec_starts_from_its_data() -> None:
    method = codec_of("vq-vae", (28, 28, 1))
    before = method.coder.quantiser.state_dict()["codes"].clone()
    images = pictures_like(256, (28, 28, 1), device=method.device)
    method.fit_at_start(Batch(part) for part in images.split(64))
    assert isinstance(method.coder.quantiser, VectorQuantiser)
    assert not torch.equal(method.coder.quantiser.codes, before)
    assert float(method.variance) == pytest.approx(float(images[:64].var()), rel=1e-4)
    with torch.no_grad():
        latents = method.coder.encoder(images)
    assert float(method.coder.quantiser(latents).commitment.mean()) < 0.5 * float(latents.var())


@every_codec
def test_usage_and_perplexity_are_always_logged(preset: str, tmp_path: Path) -> None:
    run = run_of(preset, tmp_path, "previews.every=0.25", images=160)
    rows = [row for row in run.metrics() if row["images"] <= 64]
    assert rows
    for row in rows:
        assert {"perplexity", "usage", "squared_error", "codec"} <= row["losses"].keys()
        assert 0 < row["losses"]["usage"] <= 1
        assert row["losses"]["perplexity"] >= 1
    if preset != "fsq":  # an untrained encoder's scalars may all round to the middle
        assert rows[-1]["losses"]["perplexity"] > 1
    last = run.metrics()[-1]["losses"]
    assert set(last) == {"prior", "code_bits_per_dim"}
    assert last["code_bits_per_dim"] == pytest.approx(last["prior"] / (64 * np.log(2)), rel=1e-4)


def test_no_row_of_metrics_is_of_two_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first stage ends before it is time for a row."""
    original = Logger.take_row

    def never_time(self: Logger, due: bool) -> Any:
        self._row_seconds = self.state.seconds
        return original(self, due)

    monkeypatch.setattr(Logger, "take_row", never_time)
    run = run_of("vq-vae", tmp_path, "previews.first=96", images=96)
    rows = {row["images"]: set(row["losses"]) for row in run.metrics()}
    assert rows == {48: {"codec", "squared_error", "commitment", "perplexity", "usage"}, 96: {"prior", "code_bits_per_dim"}}


def test_the_late_discriminator_is_announced(tmp_path: Path) -> None:
    run = run_of("vqgan", tmp_path, images=192)
    lines = [line for line in (run.path / "log.txt").read_text().splitlines() if "patch discriminator begins" in line]
    assert len(lines) == 1
    assert "at 48 images" in lines[0]
    assert not any(name.startswith("codec.discriminator") for name in run.checkpoint().tensors("ema"))


@pytest.mark.parametrize(
    ("shape", "settings", "codes"),
    [
        ((8, 8, 1), (), (4, 4)),
        ((28, 28, 1), (), (7, 7)),
        ((32, 48, 3), (), (8, 12)),
        ((96, 64, 3), (), (12, 8)),
        ((64, 64, 3), ("stages.codec.method.down=2",), (16, 16)),
        ((64, 64, 3), ("stages.codec.method.down=4",), (4, 4)),
    ],
)
def test_so_many_codes_by_the_size_of_the_pictures(
    shape: tuple[int, int, int], settings: tuple[str, ...], codes: tuple[int, int]
) -> None:
    assert codec_of("vq-vae", shape, *settings).shape == codes


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stages.codec.method.codes=0", "codes.*not 0"),
        ("stages.codec.method.levels=[2,8]", "levels"),
        ("stages.codec.method.cods=9", "unknown setting 'stages.codec.method.cods'; did you mean 'stages.codec.method.codes'"),
        ("stages.kodec.method.codes=9", "no stage is called 'kodec'.*did you mean 'codec'"),
        ("stages.codec=9", "unknown setting 'stages.codec'"),
        ("stages.codec.share=1.5", "share"),
        ("stages.codec.share=0", "share=0 comes trained"),
        ("method.heads=3", "heads=3 does not divide"),
        ("stages=[]", "a prior draws codes.*codec=RUN"),
        ("stages.codec.method.down=3", "down=3.*1 to 1"),
    ],
)
def test_bad_settings_are_one_line(setting: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(limner.InputError, match=words) as error:
        outcome_of("vq-vae", tmp_path, setting, narrow=False)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


# ---- the prior ----------------------------------------------------------------------------------------------------------


def test_a_codec_alone_refuses_to_sample_and_names_what_helps(bare: Run, whole: Run) -> None:
    for run, checkpoint in ((bare, "last"), (whole, "32")):
        words = "--preset prior codec=" if run is bare else "at 32 images; use checkpoint=last"
        with pytest.raises(limner.InputError, match=words):
            limner.load(run.path, checkpoint).sample([1])
        with pytest.raises(limner.InputError, match="limner train SRC --preset prior codec=RUN"):
            limner.load(run.path, checkpoint).method.sample([1], Cond(), VqVaeSampling())
    command = f"limner train digits --preset prior codec={bare.path}"
    with pytest.raises(limner.InputError, match=command):
        limner.load(bare.path).sample([1])


@pytest.mark.parametrize("of", ["bare", "whole", "prior"])
def test_another_prior_on_a_finished_codec(of: str, bare: Run, whole: Run, tmp_path: Path) -> None:
    """From a codec alone, from a run of both stages and from such a prior's run: the codec is the same, and stands alone."""
    given = {"bare": bare, "whole": whole}.get(of) or run_of("prior", tmp_path / "first", f"codec={bare.path}", *SMALL)
    there = Run(shutil.copytree(given.path, tmp_path / "codec"))
    run = run_of("prior", tmp_path / "new", f"codec={there.path}", *SMALL, images=160)
    prefix = "" if of == "bare" else "codec."
    learned = {
        name.removeprefix(prefix): value
        for name, value in given.checkpoint().tensors("ema").items()
        if name.startswith(prefix + "coder.")
    }
    assert learned
    for part in ("model", "ema"):
        held = run.checkpoint().tensors(part)
        assert all(torch.equal(held[f"codec.{name}"], value) for name, value in learned.items())
    shutil.rmtree(there.path)
    images = limner.load(run.path).sample(range(5))
    assert images.shape == (5, 8, 8, 1)
    recipe = run.recipe()
    assert recipe.codec == str(there.path)
    assert [stage.share for stage in recipe.stages] == [0.0]
    assert str(tmp_path) not in recipe.portable()
    assert_metrics_once(run)


def test_a_prior_that_was_stopped_goes_on_without_its_codecs_run(bare: Run, tmp_path: Path) -> None:
    there = shutil.copytree(bare.path, tmp_path / "codec")
    through = run_of("prior", tmp_path / "through", f"codec={there}", *SMALL, images=160)
    with at_images(64, ask_to_stop):
        outcome = outcome_of("prior", tmp_path / "parts", f"codec={there}", *SMALL, images=160)
    assert outcome.state == "stopped"
    shutil.rmtree(there)
    limner.resume(outcome.run)
    assert_same_weights(Run(outcome.run), through)


def test_a_recipe_with_a_codec_can_be_run_again(bare: Run, tmp_path: Path) -> None:
    one = run_of("prior", tmp_path / "one", f"codec={bare.path}", *SMALL)
    other = limner.train("digits", preset=str(one.path / "recipe.yaml"), out=tmp_path / "other", images=96)
    assert_same_weights(one, Run(other.run))


def test_codecs_that_do_not_serve_are_one_line(bare: Run, tmp_path: Path, sources: dict[tuple[int, int, int], Path]) -> None:
    moved = tmp_path / "away" / "0001-digits-vq-vae"
    gan = run_of("gan", tmp_path / "gan")
    vae = run_of("vae", tmp_path / "vae")
    cases = [
        ("digits", f"codec={moved}", "no run at .*moved, give its new place"),
        ("digits", f"codec={gan.path}", r"prior draws codes; .*\(gan\) makes no latents; give codec= a run of"),
        ("digits", f"codec={vae.path}", r"prior draws codes; .*\(vae\) makes continuous latents; give codec= a run of"),
        (sources[28, 28, 1], f"codec={bare.path}", "encodes pictures of 8x8 with 1 .*28x28 with 1; set data.size=8x8"),
        ("digits", "method.width=16", "give codec=RUN"),
    ]
    for source, setting, words in cases:
        with pytest.raises(limner.InputError, match=words) as error:
            outcome_of("prior", tmp_path / "none", setting, source=source)
        assert "\n" not in str(error.value)
    with pytest.raises(limner.InputError, match="codec=RUN brings a trained stage"):
        outcome_of("vq-vae", tmp_path / "none", f"codec={bare.path}")
    assert not (tmp_path / "none").exists()


def test_a_run_of_both_stages_reconstructs(whole: Run) -> None:
    model = limner.load(whole.path)
    dataset = prepare("digits")
    images = dataset.images.gather(dataset.indices("test")[:4])
    back = model.reconstruct(images)
    assert back.shape == images.shape
    assert isinstance(model.method, Prior)
    codec = limner.load(whole.path, "64")
    assert codec.checkpoint.state()["stage"] == 0
    assert codec.reconstruct(images).shape == images.shape


def test_what_is_drawn_heeds_its_knobs(whole: Run, tmp_path: Path) -> None:
    from PIL import Image

    model = limner.load(whole.path)
    plain = model.sample(range(24))
    assert np.array_equal(model.sample(range(24), temperature=1.0, top_k=0, top_p=1.0), plain)
    likeliest = model.sample(range(24), top_k=1)
    assert np.array_equal(model.sample(range(24), top_p=1e-6), likeliest)
    drawn = model.method.conditions(range(24), Cond()).label
    same = np.unique(likeliest.reshape(24, -1), axis=0)
    assert len(same) == (1 if drawn is None else len(set(drawn.tolist()))), "one picture per class"
    assert not np.array_equal(model.sample(range(24), temperature=0.3), plain)
    assert np.array_equal(model.sample([7], top_k=3)[0], model.sample(range(24), top_k=3)[7])
    for knobs, words in (
        ({"top_k": 1, "temperature": 0.5}, "temperature=0.5 would do nothing here: it belongs to top_k other than 1; leave it"),
        ({"temperature": 0.0}, "temperature 0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"top_k": -1}, "top_k -1 is out of range; give a whole number of 0 or more"),
        ({"top_p": 0.0}, "top_p 0 is out of range; give a number above 0 and of at most 1"),
        ({"top_p": 1.1}, "top_p 1.1"),
        ({"truncation": 0.5}, r"no sampling setting 'truncation'.*there are: temperature, top_k, top_p"),
    ):
        with pytest.raises(limner.InputError, match=words):
            model.sample([1], **knobs)
    answer = limner.sample(whole.path, seeds=[5], temperature=0.8, top_k=9, out=tmp_path)
    assert (answer["temperature"], answer["top_k"], answer["top_p"]) == (0.8, 9, 1.0)
    with Image.open(answer["files"][0]) as image:
        assert image.text["temperature"] == "0.8"  # type: ignore[attr-defined]
        assert image.text["top_k"] == "9"  # type: ignore[attr-defined]
        assert image.text["top_p"] == "1"  # type: ignore[attr-defined]


def test_every_place_and_every_seed_has_a_draw_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all codes are as likely, whatever came before: each is drawn as often at each place, and no place tells another."""
    method = method_of("vq-vae", (8, 8, 1)).eval()
    assert isinstance(method, Prior)
    with torch.no_grad():
        method.transformer.head.weight.zero_()
        method.transformer.head.bias.zero_()
    drawn: list[Tensor] = []
    decode = VqVae.decode
    monkeypatch.setattr(VqVae, "decode", lambda self, codes: (drawn.append(codes), decode(self, codes))[1])
    method.sample(range(480), Cond(), PriorSampling())
    codes = torch.cat(drawn).flatten(1)
    counts = torch.stack([torch.bincount(place, minlength=24) for place in codes.unbind(1)]).double()
    assert float(((counts - 20).square() / 20).sum(1).max()) < 60  # χ² of 23 degrees of freedom
    same = torch.stack([(codes[:, a] == codes[:, b]).double().mean() for a in range(16) for b in range(a)])
    assert float(same.max()) < 0.1  # 1/24, by chance


def test_a_gan_draws_no_codes(tmp_path: Path) -> None:
    with pytest.raises(limner.InputError, match=r"\(gan\) has no sampling setting 'top_k' \(there are: truncation\)"):
        limner.load(run_of("gan", tmp_path).path).sample([1], top_k=3)


def test_classes_are_learned_and_drawn(whole: Run) -> None:
    """`auto` takes the digits' classes; a class asked for is what the prior is told; shares are those of the training data."""
    model = limner.load(whole.path)
    assert isinstance(model.method, Prior)
    assert model.recipe.method.labels is True  # type: ignore[union-attr]
    dataset = prepare("digits")
    assert dataset.labels is not None
    counts = np.bincount(dataset.labels[dataset.indices("train")], minlength=10)
    assert model.method.shares.tolist() == pytest.approx(counts / counts.sum(), abs=0.01)
    codes = model.method.encode(pictures_like(3, (8, 8, 1), device=model.method.device))
    told = [model.method.nats(codes, torch.full((3,), label, device=codes.device)) for label in (0, 1, -1)]
    assert not torch.allclose(told[0], told[1])
    assert not torch.allclose(told[0], told[2])


def test_the_answer_of_sample_tells_its_knobs(whole: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from limner.cli import main

    words = ["sample", str(whole.path), "--count", "2", "--temperature", "0.9", "--top-k", "12", "--top-p", "0.95"]
    assert main([*words, "--out", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["temperature"], answer["top_k"], answer["top_p"]) == (0.9, 12, 0.95)


def test_narrow_presets_are_narrow() -> None:
    assert all(any("stages.codec" in setting for setting in NARROW[preset]) for preset in CODECS)
    assert "score.points=0" in QUIET
