"""Where bfloat16 ends: networks run in it; quantisers, likelihoods, divergences and the book of codes never do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contract.helpers import method_of, pictures_like, run_of, without_dropout
from limner import load
from limner.core import precision
from limner.core.cond import Batch, Cond
from limner.core.method import Losses, Method, StepContext
from limner.data.prepare import prepare
from limner.evaluation.likelihood import likelihood
from limner.methods.vae import elbo, likelihoods
from limner.nets.mixture import GaussianMixture

SHAPE = (12, 10, 3)
WHERE = precision.device().type


def tensors(found: Any) -> list[Tensor]:
    """All floating tensors in a value, or in a collection of values."""
    if isinstance(found, Tensor):
        return [found] if found.is_floating_point() else []
    values = found.values() if isinstance(found, dict) else found if isinstance(found, tuple | list) else ()
    return [tensor for value in values for tensor in tensors(value)]


Watch = Callable[..., None]


@pytest.fixture
def island(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """`island(module, *names)`: whoever calls these functions must give them float32 and gets, to the bit, what they give where
    there is no autocast. Each has to be called, and under autocast, or the test says nothing."""
    calls: dict[str, list[bool]] = {}

    def watch(module: Any, *names: str) -> None:
        for name in names:
            calls[name] = []
            monkeypatch.setattr(module, name, watched(name, getattr(module, name)))

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            calls[name].append(torch.is_autocast_enabled(WHERE))
            found = function(*given)
            assert {tensor.dtype for tensor in tensors(given) + tensors(found)} == {torch.float32}, name
            with torch.autocast(WHERE, enabled=False):
                plain = function(*given)
            for mine, theirs in zip(tensors(found), tensors(plain), strict=True):
                assert torch.equal(mine, theirs), f"{name} is worked in another format under autocast"
            return found

        return call

    yield watch
    assert all(any(cast) for cast in calls.values()), calls


def answers_of(network: nn.Module) -> list[Tensor]:
    """Fills with what the network answers."""
    found: list[Tensor] = []
    network.register_forward_hook(lambda module, given, answer: found.append(answer.detach()))
    return found


def losses_of(method: Method, name: str = "") -> Losses:
    """Of a batch, as the loop asks for them where the processor has bfloat16."""
    images = pictures_like(6, SHAPE, device=method.device)
    phase = next(phase for phase in method.phases() if name in ("", phase.name))
    label = torch.arange(6, device=images.device) % 3
    with precision.autocast(method.device, "bf16"):
        found = method.losses(phase.name, (Batch(images, Cond(label)),) * phase.batches, StepContext(0, 0.6))
    assert {tensor.dtype for tensor in tensors([found.of, found.logs, found.sums])} == {torch.float32}
    return found


VAES = [
    *(("vae", (f"method.decoder={decoder}",)) for decoder in ("calibrated", "fixed", "laplace", "bernoulli", "logistic")),
    ("vae", ("method.networks=mlp", "method.widths=[20]")),
    ("vae", ("method.map=true", "method.latent=2")),
    ("tc-vae", ()),
    ("factor-vae", ()),
    ("beta-vae", ("method.free_bits=0.1",)),
    ("beta-vae", ("method.capacity=3",)),
]


@pytest.mark.parametrize(("preset", "settings"), VAES, ids=str)
def test_likelihoods_and_divergences_of_a_vae(preset: str, settings: tuple[str, ...], island: Watch) -> None:
    method = method_of(preset, SHAPE, *settings)
    rounded = answers_of(method.coder.encoder)  # type: ignore[union-attr,arg-type]
    island(likelihoods, "nll")
    island(elbo, "kl_to_standard")
    if preset == "tc-vae":
        island(elbo, "decomposition", "log_aggregate", "log_normal")
    critic: dict[str, list[Tensor]] = {}
    if preset == "factor-vae":
        island(elbo, "permuted")
        critic = {name: answers_of(method.critic[place]) for name, place in (("first", 0), ("logits", -1))}  # type: ignore[index,union-attr]
    if settings == ("method.free_bits=0.1",):
        island(elbo, "free_bits")
    if settings == ("method.capacity=3",):
        island(elbo, "capacity")
    if settings in (("method.decoder=calibrated",), ("method.decoder=laplace",)):
        island(likelihoods, "spread", "optimal_log_scale")
    losses_of(method)
    assert rounded[0].dtype == torch.bfloat16, "the networks are in it"
    if critic:
        assert [answer.dtype for answer in critic["first"]] == 2 * [torch.bfloat16]
        assert [answer.dtype for answer in critic["logits"]] == 2 * [torch.float32], "they are the estimate"


def test_errors_and_sizes_of_an_autoencoder() -> None:
    """By hand, from what the networks answered."""
    method = method_of("autoencoder", SHAPE, "method.latent_penalty=0.5")
    latents, pictures = answers_of(method.coder.encoder), answers_of(method.coder.decoder)  # type: ignore[union-attr,arg-type]
    found = losses_of(method)
    assert latents[0].dtype == torch.bfloat16
    size = 0.5 * latents[0].double().square().sum(1)
    squares = (pictures_like(6, SHAPE, device=method.device).double() - pictures[0].double()).square().flatten(1).sum(1)
    torch.testing.assert_close(found.logs["latent_size"].double(), size, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.of["autoencoder"].double(), 0.5 * squares + 0.5 * size, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("preset", ["vq-vae", "fsq", "vqgan"])
def test_quantisers_and_what_their_books_are_made_of(preset: str) -> None:
    """Codes, vectors and commitment are those of the same latents without autocast; counts and sums are exact."""
    method = method_of(preset, SHAPE, stage=0)
    quantiser: Any = method.coder.quantiser  # type: ignore[union-attr]
    rounded, quantised = answers_of(method.coder.encoder), list[Any]()  # type: ignore[union-attr,arg-type]
    quantiser.register_forward_hook(lambda module, given, answer: quantised.append(answer))
    losses_of(method, "adversarial" if preset == "vqgan" else "codes")
    statistics = quantiser.take_statistics()
    (cast,), (latents,) = quantised, rounded
    assert latents.dtype == torch.bfloat16
    plain = quantiser(latents.float())
    for mine, theirs in zip(cast, plain, strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    indices, rows = plain.indices.flatten(), latents.double().permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.equal(statistics["counts"], torch.bincount(indices, minlength=quantiser.vocabulary).float())
    if preset != "fsq":
        sums = torch.zeros_like(quantiser.codes, dtype=torch.float64).index_add_(0, indices, rows)
        torch.testing.assert_close(statistics["vectors"].double(), sums, rtol=1e-6, atol=1e-6)
    assert {buffer.dtype for buffer in quantiser.buffers() if buffer.is_floating_point()} == {torch.float32}


def test_verdicts_of_a_patch_discriminator() -> None:
    method = method_of("vqgan", SHAPE, stage=0)
    logits = answers_of(method.discriminator.head)  # type: ignore[union-attr,arg-type]
    features = answers_of(method.discriminator.layers[2])  # type: ignore[union-attr,index,arg-type]
    losses_of(method, "adversarial")
    assert features[0].dtype == torch.bfloat16
    assert logits[0].dtype == torch.float32


def test_logits_and_likelihood_of_a_prior() -> None:
    method = without_dropout(method_of("vq-vae", SHAPE))
    inside = answers_of(method.transformer.blocks[0].qkv)  # type: ignore[union-attr,index,arg-type]
    logits = answers_of(method.transformer.head)  # type: ignore[union-attr,arg-type]
    found = losses_of(method)
    assert inside[0].dtype == torch.bfloat16
    assert logits[0].dtype == torch.float32
    codes = method.codec.encode(pictures_like(6, SHAPE, device=method.device)).flatten(1)
    nats = -logits[0].double().log_softmax(2).gather(2, codes[:, :, None]).sum((1, 2))
    torch.testing.assert_close(found.of["prior"].double(), nats, rtol=1e-6, atol=1e-6)


def test_what_is_fitted_saved_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After training in bfloat16: the mixture was given float32 latents, all that is saved is float32, and the likelihood is
    worked without autocast."""
    given: list[Tensor] = []
    fit = GaussianMixture.fit
    monkeypatch.setattr(GaussianMixture, "fit", lambda self, x, **more: (given.append(x), fit(self, x, **more))[1])
    run = run_of("vae", tmp_path, "precision=bf16")
    assert run.recipe().precision == "bf16"
    assert {x.dtype for x in given} == {torch.float32}
    for part in ("model", "ema", "optim"):
        assert {tensor.dtype for tensor in run.checkpoint().tensors(part).values()} == {torch.float32}
    model, dataset = load(run.path), prepare("digits")
    cast: list[bool] = []
    log_mass = likelihoods.log_mass
    monkeypatch.setattr(
        likelihoods, "log_mass", lambda *given: (cast.append(torch.is_autocast_enabled(WHERE)), log_mass(*given))[1]
    )
    likelihood(model, dataset.images.gather(dataset.indices("test")[:4]), 2)
    assert cast == [False, False]
