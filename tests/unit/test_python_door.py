"""limner as a Python program meets it: what may be given, and errors in the words of whoever called."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from contract.helpers import run_of
from limner import InputError
from limner.cli import main
from limner.core.capabilities import Autoencoder
from limner.core.fields import MAX_SEEDS
from limner.data.options import DataOptions
from limner.data.prepare import prepare
from limner.recipes.recipe import DataConfig
from limner.recipes.registry import sampling_fields
from limner.recipes.settings import compose
from limner.runs.model import Loaded
from limner.runs.model_inputs import tensor_of_images
from limner.tasks.data_sets import CheckRequest
from limner.tasks.sample import SampleRequest
from limner.training.train import ResumeRequest, TrainRequest
from limner.verbs import VERBS

ROOT = Path(__file__).parents[2]
SMALL = ("method.width=8", "method.widest=16", "method.blocks=0", "method.latent=4", "score.points=0")


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return limner.load(run_of("cgan", tmp_path_factory.mktemp("gan"), "score.points=0", "checkpoints.keep=9", images=320).path)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return limner.load(run_of("vae", tmp_path_factory.mktemp("vae"), *SMALL, images=320).path)


# ---- truth values


def leaves(annotation: Any) -> Iterator[Any]:
    """The types in an annotation."""
    if hasattr(annotation, "__metadata__"):
        yield from leaves(annotation.__origin__)
    elif get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif get_args(annotation):
        for part in get_args(annotation):
            yield from leaves(part)
    else:
        yield annotation


NUMBERS = [
    (name, field)
    for name, verb in VERBS.own.items()
    for field, info in verb.request.model_fields.items()
    if {int, float} & set(leaves(info.annotation)) and bool not in set(leaves(info.annotation))
]


@pytest.mark.parametrize(("verb", "field"), NUMBERS)
def test_no_field_of_numbers_takes_a_truth_value(verb: str, field: str) -> None:
    """`minutes=True` trained for a minute, `count=True` drew one picture."""
    for value in (True, False, np.True_, torch.tensor(True)):
        with pytest.raises(InputError, match=f"^{field}[ :]") as error:
            VERBS[verb].request.of({field: value})
        assert re.search("number|list of seeds", str(error.value))


def test_the_fields_of_numbers_are_those_that_are_meant() -> None:
    expected = {("train", "minutes"), ("resume", "images"), ("sample", "count"), ("sample", "seeds"), ("data check", "size")}
    assert expected | {("evaluate", "importance"), ("traverse", "span"), ("data check", "channels")} <= set(NUMBERS)


@pytest.mark.parametrize(
    "key",
    [
        *("budget.minutes", "budget.images", "seed", "batch.size", "ema.half_life", "score.points", "data.size", "data.limit"),
        *("data.channels", "data.rules", "method.latent", "method.r1_gamma", "method.generator.width", "checkpoints.every"),
        "method.generator.optimiser.lr",
    ],
)
def test_no_setting_of_numbers_takes_a_truth_value(key: str) -> None:
    for word in ("true", "false"):
        with pytest.raises(InputError, match=rf"{re.escape(key)}: .*(number|cannot stand here)"):
            compose("dcgan", [f"{key}={word}"])


def test_neither_do_settings_in_a_list_nor_sampling_settings(gan: Loaded) -> None:
    with pytest.raises(InputError, match=r"betas: Input should be a number, not \[False, 0.9\]"):
        compose("dcgan", ["method.generator.optimiser.betas=[false,0.9]"])
    for draw in (lambda: gan.sample([1], truncation=True), lambda: limner.sample(gan, seeds=[1], truncation=True)):
        with pytest.raises(InputError, match="truncation True cannot be used; give a number"):
            draw()
    with pytest.raises(InputError, match="label True cannot be"):
        limner.sample(gan, label=True)
    with pytest.raises(InputError, match="label True: a class is named by a text or a whole number"):
        gan.sample([1], label=True)  # type: ignore[arg-type]
    assert compose("dcgan", ["data.mirror=true"]).data.mirror


# ---- ranges


TOO_SMALL = "size 7x64 is out of range; both sides must be from 8 to 8192 pixels"


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataOptions.of({"size": "7x64"}),
        lambda: prepare(np.zeros((9, 9, 9, 1), np.uint8), size=(7, 64)),
        lambda: CheckRequest.of({"source": "digits", "size": [7, 64]}),
        lambda: compose("dcgan", ["data.size=7x64"]),
        lambda: limner.train("digits", settings={"data.size": [7, 64]}, dry_run=True),
    ],
)
def test_one_rule_says_how_small_a_picture_may_be(make: Callable[[], object]) -> None:
    """`--size 3` passed, and training failed later in other words, or not at all."""
    with pytest.raises(InputError, match=f"^{re.escape(TOO_SMALL)}$"):
        make()


def test_pictures_that_are_too_small_themselves_are_not_trained_on() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 1), np.uint8)
    with pytest.raises(InputError, match=r"size 6x6 is out of range; .* data.size=8 enlarges the pictures"):
        limner.train(pictures, preset="vae", settings={"method.networks": "mlp"}, images=64, dry_run=True)


def test_a_run_of_before_keeps_its_small_pictures() -> None:
    recorded = DataConfig.model_validate({"source": "digits", "size": "4x4", "fingerprint": "0" * 64})
    assert recorded.rules == 1
    assert recorded.options().height_and_width == (4, 4)


@pytest.mark.parametrize("text", ["-1", "99999999999999999999", "1--2", "0-9223372036854775808", "9" * 5000])
def test_seeds_out_of_range_are_told_the_range(text: str) -> None:
    """They were "neither a number nor a range"."""
    with pytest.raises(InputError, match=r"^seeds .*: a seed is a whole number from 0 to 9223372036854775807$"):
        SampleRequest.of({"run": "1", "seeds": text})
    with pytest.raises(InputError, match="latent is a whole number from 0 to 9223372036854775807"):
        VERBS["traverse"].request.of({"run": "1", "latents": text})


@pytest.mark.parametrize(
    ("request_type", "values", "message"),
    [
        (TrainRequest, {"minutes": 0}, "minutes 0 cannot be: it should be a number above 0 and of at most 5270400"),
        (TrainRequest, {"minutes": float("inf")}, "minutes inf cannot be: it should be a finite number"),
        (TrainRequest, {"images": 0}, "images 0 cannot be: it should be a whole number from 1 to 1000000000000000"),
        (TrainRequest, {"seed": -1}, "seed -1 cannot be: it should be a whole number of 0 or more"),
        (ResumeRequest, {"run": 1, "minutes": -2}, "minutes -2 cannot be: it should be a number above 0 and"),
        (SampleRequest, {"run": 1, "seeds": [-1]}, "seeds -1: a seed is a whole number from 0 to"),
        (SampleRequest, {"run": 1, "count": 0}, f"count 0: choose 1 to {MAX_SEEDS:,}"),
        (VERBS["traverse"].request, {"run": 1, "seed": 2**63}, "it should be a whole number from 0 to 9223372036854775807"),
    ],
)
def test_a_number_out_of_range_is_called_what_was_typed(request_type: Any, values: dict[str, Any], message: str) -> None:
    """A budget was called ``settings: budget.minutes``."""
    with pytest.raises(InputError, match=re.escape(message)):
        request_type.of(values)


# ---- the words of whoever called


def error_of_command(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 2
    return str(json.loads(capsys.readouterr().out)["error"])


def test_python_names_keywords_and_the_command_line_options(gan: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    run = gan.run.path
    cases: list[tuple[Callable[[], object], tuple[object, ...], str, str]] = [
        (lambda: limner.sample(run, text="x"), ("sample", run, "--text", "x"), "leave text out", "leave --text out"),
        (lambda: limner.sample(run, count=0), ("sample", run, "--count", 0), "count 0:", "--count 0:"),
        (
            lambda: limner.sample(run, seeds=[1], count=2),
            ("sample", run, "--seeds", 1, "--count", 2),
            "seeds and c",
            "--seeds and -",
        ),
        (lambda: limner.sample(run, seeds=[]), ("sample", run, "--seeds", "x"), "give seeds=0-15 or count=16", "--seeds 'x': "),
        (lambda: limner.evaluate(run, fail_if="3"), ("evaluate", run, "--fail-if", 3), "fail_if '3'", "--fail-if '3'"),
        (lambda: limner.train("digits", minutes=0), ("train", "digits", "--minutes", 0), "minutes 0", "--minutes 0"),
        (lambda: limner.train(preset="vae"), ("train",), "source is missing", "SRC is missing"),
        (lambda: limner.resume(run, images=1), ("resume", run, "--images", 1), "; images is the new", "; --images is the new"),
        (lambda: limner.list_runs(run.parent, where=["x"]), ("runs", run.parent, "--where", "x"), "where 'x'", "--where 'x'"),
        (lambda: limner.rate(html=True), ("rate", "--html"), "html makes a page", "--html makes a page"),
        (
            lambda: limner.interpolate(run, steps=1, seeds=[1, 2]),
            ("interpolate", run, "--steps", 1, "--seeds", "1,2"),
            "steps 1",
            "--steps 1",
        ),
    ]
    for call, words, in_python, on_command_line in cases:
        with pytest.raises(InputError) as error:
            call()
        assert in_python in str(error.value)
        assert not re.search(r"(?<!\w)--[a-z]", re.sub(r"`[^`]*`", "", str(error.value))), str(error.value)
        assert on_command_line in error_of_command(capsys, *words)


def test_no_message_names_an_option_of_the_command_line_by_itself() -> None:
    """Outside of the command line, `limner.core.invocation.option` writes it; commands as a whole stand in backticks."""
    source = Path(limner.__file__).parent
    places = []
    for path in sorted(source.rglob("*.py")):
        if "cli" in path.relative_to(source).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "InputError":
                text = re.sub(r"`[^`]*`", "", re.sub(r"\{[^}]*\}", "", ast.unparse(node)))
                places += [f"{path}:{node.lineno}"] if re.search(r"(?<![\w-])--[a-z]", text) else []
    assert places == []


def test_a_folder_of_another_call_says_what_differs(gan: Loaded, tmp_path: Path) -> None:
    """It held "files of something else"."""
    limner.sample(gan, count=2, out=tmp_path / "out")
    limner.sample(gan, count=2, out=tmp_path / "out")  # the same call again
    with pytest.raises(
        InputError, match=r"holds the files of another call of sample \(count: 2 there, 3 here\); give a new or an"
    ):
        limner.sample(gan, count=3, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"holds the files of a call of sample; .* leave out out for a new one"):
        limner.interpolate(gan, seeds=[1, 2], out=tmp_path / "out")
    limner.prepare("digits", limit=50, out=tmp_path / "set")
    with pytest.raises(InputError, match=r"a set prepared with other options \(limit: 50 there, 60 here\)"):
        limner.prepare("digits", limit=60, out=tmp_path / "set")


# ---- models


def test_a_model_names_its_run_and_its_checkpoint(gan: Loaded, tmp_path: Path) -> None:
    """A loaded model, a run and a result of a training were refused with a message of a hundred words."""
    longer = limner.resume(gan.run.path, images=448)
    assert limner.load(longer).checkpoint.images == 448
    for number, (run, images) in enumerate(((gan, 320), (gan.run, 448), (longer, 448), (gan.run.path, 448))):
        assert limner.sample(run, count=1, npz=tmp_path / f"{number}.npz").checkpoint == images
    assert limner.sample(gan, checkpoint=448, count=1, npz=tmp_path / "4.npz").checkpoint == 448
    assert limner.load(gan, 320).checkpoint.images == 320
    with pytest.raises(InputError, match=r"the models are of different checkpoints \(320, 448\)"):
        limner.compare([gan, limner.load(gan)])
    with pytest.raises(InputError, match="has no checkpoint '321'"):
        limner.load(gan, 321)


def test_a_model_draws_by_count_and_by_the_number_of_a_class(gan: Loaded) -> None:
    assert np.array_equal(gan.sample(count=3), gan.sample(range(3)))
    assert len(gan.sample()) == 16
    three = gan.sample([5], label="3")
    for label in (3, np.int64(3)):
        assert np.array_equal(gan.sample([5], label=label), three)
        assert limner.sample(gan, seeds=[5], label=label).label == "3"
    for keywords, message in (
        ({"seeds": [1], "count": 2}, "exclude each other"),
        ({"count": -1}, "count -1: choose 1 to"),
        ({"count": 1.5}, "count 1.5: choose 1 to"),
        ({"cuont": 3}, "did you mean 'count'\\? sample also takes seeds, count, label, text, given, sampling"),
        ({"text": 3}, "text 3: a caption is a text"),
        ({"sampling": 3}, "sampling settings are a mapping"),
    ):
        with pytest.raises(InputError, match=message):
            gan.sample(**keywords)


def test_a_name_that_does_not_exist_is_told_the_nearest(gan: Loaded) -> None:
    for owner, name, nearest in (
        (limner, "trian", "train"),
        (limner, "SampleResul", "SampleResult"),
        (gan, "smaple", "sample"),
        (gan.run, "chekpoint", "checkpoint"),
        (limner.check("digits", limit=20), "imags", "images"),
    ):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; did you mean '{nearest}'\\?$"):
            getattr(owner, name)
        assert not hasattr(owner, "__no_such_protocol__")


def test_what_no_model_can_decode_or_encode_is_refused(gan: Loaded, vae: Loaded) -> None:
    """NaN came out as NaN, and another type was torch's error about matrices."""
    for model, shape in ((gan, gan.latents([0]).shape[1:]), (vae, (4,))):
        for value in (float("nan"), float("inf")):
            with pytest.raises(InputError, match="values of the latents are NaN or infinite"):
                model.decode(torch.full((2, *shape), value))
        with pytest.raises(InputError, match=r"are floating point, not torch.int64"):
            model.decode(torch.zeros((2, *shape), dtype=torch.int64))
        with pytest.raises(InputError, match=r"not \[3, 99\]"):
            model.decode(torch.zeros(3, 99))
        doubles = np.random.default_rng(0).normal(size=(2, *shape))
        assert torch.equal(model.decode(doubles), model.decode(torch.from_numpy(doubles).float()))
    with pytest.raises(InputError, match=r"are \[N, 1, 8, 8\], not \[2, 1, 9, 9\]"):
        vae.encode(torch.zeros(2, 1, 9, 9))
    with pytest.raises(InputError, match="values of the pictures are NaN or infinite"):
        vae.encode(torch.full((2, 1, 8, 8), float("nan")))
    with pytest.raises(InputError, match="pictures are an array"):
        limner.invert(gan, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="named by its path, or several by a list of paths, not by 3"):
        limner.open_dataset(3)  # type: ignore[arg-type]


def test_the_page_tells_the_shapes_that_come_out(gan: Loaded, vae: Loaded) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `model.")]
    assert len(rows) == 5
    pictures = vae.dataset().images.gather(np.arange(2))
    sides = dict(zip("HWC", vae.shape, strict=True))
    for call, _, result in rows:
        for model in (gan, vae):
            if model is gan and ("encode" in call or "reconstruct" in call):
                continue
            names = {"model": model, "pictures": pictures, "latents": model.latents([0, 1])}
            value = eval(call.strip("`"), {}, names)  # noqa: S307  # a line of the page
            kind, form, shape = re.match(r"(\w+) (array|tensor) \[([^\]]*)\]", result).groups()  # type: ignore[union-attr]
            assert str(value.dtype).removeprefix("torch.") == kind, call
            assert isinstance(value, np.ndarray if form == "array" else torch.Tensor), call
            axes = shape.split(", ")
            assert len(value.shape) == len(axes), call
            assert all(size == {"N": 2, **sides}.get(axis, size) for size, axis in zip(value.shape, axes, strict=True)), call


def test_fine_tuning_by_the_page_gives_the_gradients_of_its_loss(vae: Loaded) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if ".backward()" in block]
    names: dict[str, Any] = {}
    exec(program.replace('"runs/0001"', repr(str(vae.run.path))), names)
    target, twin = names["target"], limner.load(vae).method.requires_grad_(True).train()
    assert isinstance(twin, Autoencoder)
    expected = tensor_of_images(names["pictures"], vae.shape, vae.run.path, target.device)
    assert torch.allclose(target, expected, atol=1e-6)
    (twin.decode(twin.encode(expected)) - expected).square().mean().backward()
    weights = zip(names["model"].method.parameters(), twin.parameters(), strict=True)
    pairs = [(ours.grad, theirs.grad) for ours, theirs in weights if theirs.grad is not None]
    assert len(pairs) == 8
    assert all(ours is not None and torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs)


def test_a_result_has_the_sampling_settings_of_its_own_family(gan: Loaded, tmp_path: Path) -> None:
    """It showed solver, steps and guidance for a GAN, as if they had done something; a type checker knew none of them."""
    result = limner.sample(gan, count=1, truncation=0.5, out=tmp_path / "out")
    assert result.sampling == {"truncation": 0.5}
    assert result["truncation"] == 0.5
    others = set(sampling_fields()) - {"truncation"}
    assert len(others) > 5
    assert {name: result[name] for name in others} == dict.fromkeys(others), "keys that programs rely on stay"
    assert not [name for name in others if f"{name}=" in repr(result)]


# ---- pictures


def test_a_list_of_pictures_is_a_source() -> None:
    """`evaluate` took lists, and `train` refused them."""
    pictures = np.random.default_rng(0).integers(0, 256, (24, 9, 8, 3), np.uint8)
    whole = prepare(pictures)
    tensors = [torch.from_numpy(one).permute(2, 0, 1) for one in pictures]
    for source in (list(pictures), [pictures[:10], pictures[10:]], tensors, [Image.fromarray(one) for one in pictures]):
        assert prepare(source).fingerprint == whole.fingerprint
    labels = [0, 1] * 12
    labelled = prepare((pictures, labels)).fingerprint
    for source in (list(zip(pictures, labels, strict=True)), [(pictures[:4], labels[:4]), (pictures[4:], labels[4:])]):
        assert prepare(source).fingerprint == labelled
    assert limner.check(list(pictures)).images == 24
    assert limner.train(list(pictures), preset="gan", images=64, dry_run=True).data["shape"] == [9, 8, 3]


def test_float_pictures_are_told_how_they_become_uint8() -> None:
    """Values from 0 to 1 were to be rounded to whole numbers, which makes them black."""
    whole = np.random.default_rng(0).integers(0, 256, (24, 9, 8, 3), np.uint8)
    ending = r" of float64; round them to 0\.\.255 first; of values x from {} take {}$"
    for pictures, values, formula in (
        (whole / 255, "0 to 1", "(x * 255).round().astype('uint8')"),
        (whole / 127.5 - 1, "-1 to 1", "((x + 1) * 127.5).round().astype('uint8')"),
    ):
        assert np.array_equal(eval(formula, {"x": pictures}), whole)  # noqa: S307  # the advice itself
        for source in (pictures, list(pictures)):
            with pytest.raises(InputError, match=ending.format(values, re.escape(formula))):
                prepare(source)
    with pytest.raises(InputError, match=r"images of int64; round them to 0\.\.255 first$"):
        prepare(whole.astype(np.int64))


def test_transparency_is_noted_once(tmp_path: Path) -> None:
    """Every verb said it of the same prepared set, train twice."""
    draw = np.random.default_rng(0)
    for number in range(24):
        Image.fromarray(draw.integers(0, 256, (8, 8, 4), np.uint8)).save(tmp_path / f"{number}.png")
    keywords: dict[str, Any] = {"preset": "gan", "images": 64, "dry_run": True}
    counts = [sum("transparent" in note for note in limner.train(tmp_path, **keywords).notes) for _ in range(2)]
    assert counts == [1, 0]
    for _ in range(2):
        assert sum("transparent" in note for note in limner.check(tmp_path).notes) == 1
    report = limner.evaluate(tmp_path, data=tmp_path, metrics="sliced")
    assert sum("transparent" in note for note in report.context["notes"]) == 1, (
        "of the folder that is judged alone, at its split"
    )


def test_few_kinds_of_pictures_are_a_warning() -> None:
    digits = limner.open_dataset(limner.prepare("digits").path)
    one = digits.images.gather(np.array([3])).astype(np.int64)
    noise = np.random.default_rng(0).integers(0, 2, (60, 8, 8, 1))
    report = limner.evaluate(np.clip(one + noise, 0, 255).astype(np.uint8), data="digits", metrics="precision,recall")
    assert any(
        text.startswith("few kinds of pictures: most are like some real picture (precision 1)") for text in report.warnings
    )
