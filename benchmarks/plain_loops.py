"""The presets' networks trained as one would in plain PyTorch: the peers of `method_speed.py`.

Each function is given the untrained Method of a preset and makes a `Plain`: what one iteration does, as a tutorial or a paper's
public code has it. Losses are written out here once more; only the networks are limner's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.precision import Precision, autocast
from limner.methods.gan.gan import Gan
from limner.methods.gan.penalties import gradient_penalty, r1_penalty
from limner.methods.vae.autoencoder import PlainAutoencoder
from limner.methods.vae.vae import Vae
from limner.methods.vq.prior import Prior
from limner.methods.vq.vqvae import VqVae
from limner.nets import transformer
from limner.nets.cpu import Conv2d, ConvTranspose2d, Dropout
from limner.nets.layers import BatchNorm
from limner.nets.spectral import SpectralNorm

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Data:
    pixels: Tensor
    labels: Tensor
    batch: int
    codes: Tensor | None = None
    """What a frozen codec makes of the pictures, encoded beforehand."""

    def rows(self) -> Tensor:
        return torch.randint(len(self.pixels), (self.batch,))


@dataclass(frozen=True)
class Plain:
    step: Callable[[], Any]
    """One iteration."""
    loss: Callable[[Tensor], Tensor] | None = None
    """Mean of the first player's loss on these rows; None where limner has no such number of its own."""


def torch_layers(method: nn.Module) -> None:
    """torch's forward passes in the place of ours."""
    for layer in method.modules():
        if isinstance(layer, Conv2d | ConvTranspose2d):
            usual = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.ConvTranspose2d
            layer.forward = MethodType(usual.forward, layer)
        if isinstance(layer, Dropout):
            layer.forward = MethodType(lambda self, x: F.dropout(x, self.rate, self.training), layer)
        if isinstance(layer, transformer.TransformerBlock):
            layer.forward = MethodType(_block, layer)


def _block(block: Any, x: Tensor) -> Tensor:
    """`transformer.TransformerBlock` with torch's own attention."""
    q, k, v = block.qkv(block.norm1(x)).view(*x.shape[:2], 3, block.heads, -1).permute(2, 0, 3, 1, 4)
    seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + block.drop(block.out(seen.transpose(1, 2).flatten(2)))
    return x + block.drop(block.down(F.silu(block.up(block.norm2(x)))))


def iterate(module: nn.Module) -> None:
    """One power iteration of every spectrally normalised weight inside."""
    for layer in module.modules():
        if isinstance(layer, SpectralNorm):
            layer.move_state({})


def optimiser(module: nn.Module, told: Any) -> torch.optim.Optimizer:
    """With torch's defaults for everything but the numbers."""
    kind = torch.optim.AdamW if told.kind == "adamw" else torch.optim.Adam
    betas = (told.betas[0], told.betas[1].value)
    return kind(module.parameters(), lr=told.lr.value, betas=betas, weight_decay=told.weight_decay)


def plain_of(method: Any, data: Data, progress: float, number_format: Precision) -> Plain:
    makers: dict[type, Callable[[Any, Data, float, Precision], Plain]] = {
        Gan: gan,
        PlainAutoencoder: autoencoder,
        Vae: vae,
        VqVae: vqvae,
        Prior: prior,
    }
    return makers[type(method)](method, data, progress, number_format)


def descent(module: nn.Module, told: Any, data: Data, loss: Callable[[Tensor], Tensor]) -> Plain:
    """One player: the tutorial's four lines."""
    opt = optimiser(module, told)

    def step() -> None:
        found = loss(data.rows())
        opt.zero_grad()
        found.backward()
        opt.step()

    return Plain(step, loss)


# ---- autoencoders -------------------------------------------------------------------------------------------------------


def autoencoder(method: PlainAutoencoder, data: Data, progress: float, number_format: Precision) -> Plain:
    coder, config = method.coder, method.config

    def loss(rows: Tensor) -> Tensor:
        x = data.pixels[rows]
        with autocast(CPU, number_format):
            z = coder.encoder(x)
            out = coder.decoder(z)
        z, out = z.float(), out.float()
        squares = F.mse_loss(out, x, reduction="sum") / len(x)
        return 0.5 * squares + config.latent_penalty * 0.5 * z.square().sum(1).mean()

    return descent(coder, config.optimiser, data, loss)


def vae(method: Vae, data: Data, progress: float, number_format: Precision) -> Plain:
    """Gaussian decoders, calibrated or of fixed σ; β-TCVAE's total correlation within the batch, FactorVAE's by a critic."""
    coder, config = method.coder, method.config
    beta, gamma = config.beta.at(progress), config.tc_weight.at(progress)
    log_weights = _stratified(data.batch, int(config.population)) if config.total_correlation == "stratified" else None

    def encoded(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with autocast(CPU, number_format):
            mean, raw = coder.encoder(x).chunk(2, 1)
        mean, log_variance = mean.float(), 10 * torch.tanh(raw.float() / 10)
        return mean, log_variance, mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def elbo(x: Tensor) -> tuple[Tensor, Tensor]:
        """β-weighted negative ELBO, and z."""
        mean, log_variance, z = encoded(x)
        with autocast(CPU, number_format):
            out = coder.decoder(z)
        squares, entries = F.mse_loss(out.float(), x, reduction="none").flatten(1).sum(1), x[0].numel()
        log_sigma = torch.tensor(math.log(config.sigma))
        if config.decoder == "calibrated":
            log_sigma = F.softplus(0.5 * (squares.mean() / entries).log() + 6) - 6
        nll = 0.5 * squares * torch.exp(-2 * log_sigma) + entries * (log_sigma + 0.5 * math.log(2 * math.pi))
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)
        loss = (nll + beta * kl).mean()
        if log_weights is not None:
            loss = loss + gamma * _total_correlation(z, mean, log_variance, log_weights)
        return loss, z

    if config.total_correlation != "critic":
        return descent(coder, config.optimiser, data, lambda rows: elbo(data.pixels[rows])[0])
    critic = method.critic
    opt, opt_critic = optimiser(coder, config.optimiser), optimiser(critic, config.critic.optimiser)

    def told(z: Tensor) -> Tensor:
        with autocast(CPU, number_format):
            logit = critic(z)
        return logit.float()

    def loss(rows: Tensor) -> tuple[Tensor, Tensor]:
        found, z = elbo(data.pixels[rows])
        return found + gamma * told(z).mean(), z

    def step() -> None:
        found, z = loss(data.rows())
        opt.zero_grad()
        found.backward()
        opt.step()
        with torch.no_grad():
            other = encoded(data.pixels[data.rows()])[2]
        mixed = torch.stack([column[torch.randperm(len(column))] for column in other.unbind(1)], 1)
        joint, apart = told(z.detach()), told(mixed)
        told_apart = 0.5 * (
            F.binary_cross_entropy_with_logits(joint, torch.ones_like(joint))
            + F.binary_cross_entropy_with_logits(apart, torch.zeros_like(apart))
        )
        opt_critic.zero_grad()
        told_apart.backward()
        opt_critic.step()

    return Plain(step, lambda rows: loss(rows)[0])


def _stratified(batch: int, population: int) -> Tensor:
    """[B, B] logarithms of the weights (Chen et al. 2018, appendix C.2)."""
    rest = batch - 1
    weights = torch.full((batch, batch), 1 / rest)
    weights.fill_diagonal_(1 / population)
    for row in range(batch):
        weights[row, (row + 1) % batch] = max(population - rest, 1) / (population * rest)
    return weights.log()


def _total_correlation(z: Tensor, mean: Tensor, log_variance: Tensor, log_weights: Tensor) -> Tensor:
    """As public code has it: a [B, B, L] table of log q(z_i|x_j)."""
    apart = z[:, None] - mean[None]
    each = -0.5 * (apart.square() * torch.exp(-log_variance)[None] + log_variance[None] + math.log(2 * math.pi))
    joint = torch.logsumexp(log_weights + each.sum(2), 1)
    marginals = torch.logsumexp(log_weights[:, :, None] + each, 1).sum(1)
    return (joint - marginals).mean()


# ---- codes --------------------------------------------------------------------------------------------------------------


def vqvae(method: VqVae, data: Data, progress: float, number_format: Precision) -> Plain:
    """The codec: averages of latents for a book (DeepMind's Sonnet, by a one-hot product), rounding for finite scalars; with a
    discriminator the codec's step, then its own, as VQGAN's public code."""
    coder, config, critic = method.coder, method.config, method.discriminator
    quantise = _rounded(config.levels) if config.quantiser == "fsq" else _Book(coder.quantiser, data.batch)
    adversarial = config.adversarial if config.adversarial and progress >= config.start else 0.0
    opt = optimiser(coder, config.optimiser)
    opt_critic = optimiser(critic, config.discriminator_optimiser) if adversarial else None

    def verdict(x: Tensor) -> Tensor:
        with autocast(CPU, number_format):
            logits: Tensor = critic(x)
        return logits.float()

    def passed(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The codec's loss, the pictures and what became of them."""
        x = data.pixels[rows]
        with autocast(CPU, number_format):
            latents = coder.encoder(x)
        values, commitment = quantise(latents.float())
        with autocast(CPU, number_format):
            out = coder.decoder(values)
        out = out.float()
        loss = F.mse_loss(out, x) / method.variance + config.commitment * commitment
        if config.absolute:
            loss = loss + config.absolute * F.l1_loss(out, x) / method.variance.sqrt()
        if adversarial:
            loss = loss - adversarial * verdict(out).mean()
        return loss, x, out

    def step() -> None:
        loss, x, out = passed(data.rows())
        opt.zero_grad()
        loss.backward()
        opt.step()
        if isinstance(quantise, _Book):
            quantise.follow()
        if opt_critic is not None:
            told = (F.relu(1 - verdict(x)) + F.relu(1 + verdict(out.detach()))).mean()
            opt_critic.zero_grad()
            told.backward()
            opt_critic.step()
            iterate(critic)

    return Plain(step, lambda rows: passed(rows)[0])


class _Book:
    """Codes that follow the latents; without the revival of dead ones, which tutorials do not have."""

    def __init__(self, quantiser: Any, batch: int) -> None:
        self.codes, self.decay = quantiser.codes.clone(), 0.5 ** (batch / quantiser.half_life)
        self.counts, self.sums = torch.ones(len(self.codes)), self.codes.clone()
        self.seen: tuple[Tensor, Tensor] = (self.counts, self.sums)

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        rows = latents.permute(0, 2, 3, 1)
        flat = rows.reshape(-1, rows.shape[3])
        distances = flat.square().sum(1, keepdim=True) - 2 * flat @ self.codes.T + self.codes.square().sum(1)
        indices = distances.argmin(1)
        codes = self.codes[indices].view(rows.shape)
        self.seen = (flat.detach(), indices)
        return (rows + (codes - rows).detach()).permute(0, 3, 1, 2), F.mse_loss(rows, codes)

    @torch.no_grad()
    def follow(self) -> None:
        flat, indices = self.seen
        chosen = F.one_hot(indices, len(self.codes)).float()
        self.counts.mul_(self.decay).add_(chosen.sum(0), alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(chosen.T @ flat, alpha=1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + 1e-5) / (total + len(self.codes) * 1e-5) * total
        self.codes = self.sums / smoothed[:, None]


def _rounded(levels: tuple[int, ...]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """As in the paper's appendix; the indices come with it, as there."""
    sizes = torch.tensor(levels)
    basis = torch.cumprod(torch.tensor([1, *levels[:-1]]), 0)
    half_span, half = (sizes - 1) * 1.001 / 2, sizes // 2
    offset = torch.where(sizes % 2 == 0, 0.5, 0.0)
    shift = torch.atanh(offset / half_span)

    def quantise(latents: Tensor) -> tuple[Tensor, Tensor]:
        z = latents.permute(0, 2, 3, 1)
        bounded = torch.tanh(z + shift) * half_span - offset
        values = (bounded + (bounded.round() - bounded).detach()) / half
        ((values * half + half) * basis).sum(3).long()
        return values.permute(0, 3, 1, 2), torch.zeros(())

    return quantise


def prior(method: Prior, data: Data, progress: float, number_format: Precision) -> Plain:
    assert data.codes is not None
    codes, net, labels = data.codes.flatten(1), method.transformer, data.labels if "label" in method.accepts else None

    def loss(rows: Tensor) -> Tensor:
        told = codes[rows]
        with autocast(CPU, number_format):
            logits = net(told, None if labels is None else labels[rows])
        return F.cross_entropy(logits.flatten(0, 1), told.flatten(), reduction="sum") / len(told)

    return descent(net, method.config.optimiser, data, loss)


# ---- adversaries --------------------------------------------------------------------------------------------------------


def gan(method: Gan, data: Data, progress: float, number_format: Precision) -> Plain:
    """The discriminator on real and on generated images, its step, then the generator's on the same images; the same losses,
    penalties and lazy intervals."""
    config, g, d = method.config, method.generator, method.discriminator
    opt_g = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    place = [0]

    def step() -> None:
        turn = place[0]
        place[0] += 1
        rows = data.rows()
        real, label = data.pixels[rows], data.labels[rows] if config.labels else None
        with autocast(CPU, number_format):
            _turn(turn, real, label)

    def _turn(turn: int, real: Tensor, label: Tensor | None) -> None:
        fake = g(torch.randn(data.batch, config.latent), label)  # serves both players, as in PyTorch's own tutorial
        seen = d(real, label)
        loss = (method.game.discriminator(seen, d(fake.detach(), label), 0.0) + config.drift * seen.square()).mean()
        if config.penalised and turn % config.penalty_every == 0:
            gammas = (config.r1_gamma.value, config.r2_gamma.value)
            for gamma, images in zip(gammas, (real, fake), strict=True):
                if gamma:
                    penalty = r1_penalty(lambda x: d(x, label), images)
                    loss = loss + config.penalty_every * gamma * penalty.mean()
            if config.gradient_penalty:
                penalty = gradient_penalty(lambda x: d(x, label), real, fake, torch.rand(data.batch))
                loss = loss + config.penalty_every * config.gradient_penalty * penalty.mean()
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        if config.discriminator.spectral:
            iterate(d)
        if config.weight_clip is not None:
            with torch.no_grad():
                for weight in d.parameters():
                    weight.clamp_(-config.weight_clip, config.weight_clip)
        if turn % config.critic_steps == 0:
            opt_g.zero_grad()
            verdict = d(fake, label)
            anchor = d(real, label) if config.loss == "relativistic" else verdict
            method.game.generator(anchor, verdict).mean().backward()
            opt_g.step()
        for layer in method.modules():  # nobody moves the running moments here
            if isinstance(layer, BatchNorm):
                layer.take_statistics()

    return Plain(step)
