"""Flow matching on straight paths (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003).

A picture x₀ and noise ε are joined by x_t = (1 − t)·x₀ + t·ε. The network learns the velocity ε − x₀ at x_t; its mean, given
x_t, is a field whose flow from t = 1 to t = 0 carries noise to pictures. One player. The loss is the mean squared error of the
velocity.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from limner.core.capabilities import Codec, VelocityField
from limner.core.cond import Batch, Cond, PictureSet
from limner.core.config import ConditionKind, DataSpec, Sampling
from limner.core.diagnosis import Rule
from limner.core.errors import InputError
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.precision import autocast, choose, float64_device
from limner.core.seeds import noise
from limner.methods.affine import AFFINE_DRAWS, AFFINE_NUMBERS, draw_affine_changes, warp
from limner.methods.flow.config import EDM_TIMES, GUIDANCE_BY_CLASS, FlowSampling, ResolvedFlowConfig
from limner.methods.flow.diagnosis import RULES
from limner.methods.flow.guidance import extrapolate, extrapolate_scaled, guided
from limner.methods.flow.networks import build_network
from limner.methods.flow.prediction import PREDICTIONS
from limner.methods.flow.solvers import Velocity, adaptive, ancestral, dpm, euler, heun, midpoint, shifted_times
from limner.methods.flow.transport import Coupling
from limner.methods.labels import count_labels, draw_labels, even_shares, require_classes

FIXED_STEP_SOLVERS = {"euler": euler, "heun": heun, "midpoint": midpoint, "dpm": dpm}
"""Solvers that take the times of their steps, by their names in the settings."""
CHANGE_NUMBERS = 1 + AFFINE_NUMBERS
"""By how many numbers the network is told how a picture was augmented: whether it is mirrored, and the affine change."""
FIT_IMAGES = 2_000
"""Training images from which the mean and the deviation of each pixel are measured."""
MIN_SPREAD = 0.1
"""The least standard deviation of a pixel: one that is the same in all pictures that were measured may differ in another."""


class Flow(Method, VelocityField):
    """A velocity field on whatever the codec gives (pixels, or an autoencoder's latents)."""

    sampling_type = FlowSampling

    centre: Tensor
    spread: Tensor
    shares: Tensor

    def __init__(self, config: ResolvedFlowConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(codec)
        self.config = config
        if config.labels:
            require_classes(spec)
        classes = len(spec.classes) if config.labels else 0
        self.accepts: frozenset[ConditionKind] = frozenset({"label"} if config.labels else ())
        self.network = build_network(config.network, codec.shape, classes, CHANGE_NUMBERS if config.augment else 0)
        self._guide: nn.Module | None = None
        self._couplings: dict[PictureSet, Coupling] = {}
        self.register_buffer("centre", torch.zeros(codec.shape))
        self.register_buffer("spread", torch.ones(codec.shape))
        self.register_buffer("shares", even_shares(len(spec.classes)))

    def players(self) -> Mapping[str, Player]:
        return {"flow": Player("network", self.config.optimiser, self.config.clip)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("velocity", ("flow",)),)

    def diagnosis(self) -> tuple[Rule, ...]:
        return RULES

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        (batch,) = batches
        batch, eps = self._paired(batch)
        batch, change = self._augmented(batch)
        clean = self.encoded(batch)
        time = self._draw_times(batch)
        label = self._hide_labels(batch)
        t = time.view(-1, *[1] * (clean.dim() - 1))
        predicted = self._velocity((1 - t) * clean + t * eps, time, label, change=change)
        errors = (predicted.float() - (eps - clean)).square().flatten(1).mean(1)
        return Losses({"flow": errors})

    def _paired(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The batch, with other pictures of the same classes where they are paired, and the noise that they are joined with."""
        eps = batch.noise(*self.codec.shape)
        coupling = None if batch.pictures is None else self._couplings.get(batch.pictures)
        if coupling is None or batch.pictures is None:
            return batch, eps
        places = coupling.choose(eps, batch.cond.label if self.config.labels else None, batch.uniform())
        partner = batch.pictures.take(places)
        return replace(batch, images=partner.images, latents=partner.latents), eps

    def _draw_times(self, batch: Batch) -> Tensor:
        """[B]: times in 0..1; one in each of B equal shares of the distribution, so that batches differ little."""
        count = len(batch)
        uniform = batch.uniform()
        if self.config.stratified:
            uniform = (uniform + torch.arange(count, device=batch.images.device)) / count
        if self.config.times == "uniform":
            return uniform
        own = self.config.time_mean, self.config.time_spread
        mean, spread = EDM_TIMES if self.config.times == "edm" else own
        time: Tensor = (torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6)) * spread + mean).sigmoid()
        return time

    def _augmented(self, batch: Batch) -> tuple[Batch, Tensor | None]:
        """The batch with some of its pictures changed, and by what the changes are described to the network, [B, numbers]."""
        if not self.config.augment:
            return batch, None
        uniforms = batch.uniform(AFFINE_DRAWS + 1).unbind(1)
        mirrored = uniforms[-1] < self.config.augment / 2
        images = torch.where(mirrored.view(-1, 1, 1, 1), batch.images.flip(3), batch.images)
        changes = draw_affine_changes(uniforms, self.config.augment, images.shape[2:])
        numbers = torch.cat([mirrored[:, None].float(), changes.numbers(images.shape[2:])], 1)
        return replace(batch, images=warp(images, changes), latents=None), numbers

    def _hide_labels(self, batch: Batch) -> Tensor | None:
        """[B]: the classes, some of them replaced by −1."""
        if not self.config.labels or batch.cond.label is None:
            return None
        return torch.where(batch.uniform() < self.config.drop_labels, -1, batch.cond.label)

    def _velocity(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None,
        network: nn.Module | None = None,
        change: Tensor | None = None,
    ) -> Tensor:
        """[B, *codec.shape] in float32: dx/dt at x and `time` [B], for classes [B], by another `network` where one is named.

        `change` [B, `CHANGE_NUMBERS`] says how the pictures were augmented; None is not at all.
        """
        net = network or self.network
        self.network_calls += 1
        t = time.view(-1, *[1] * (x.dim() - 1))
        predict = PREDICTIONS[self.config.prediction]
        return predict(lambda y: net(y, time, label, change).float(), x, t, self.centre, self.spread)

    def velocity(self, x: Tensor, time: Tensor, cond: Cond) -> Tensor:
        return self._velocity(x, time, cond.label)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; `sampling` is a `FlowSampling`."""
        sampling = self.resolve_sampling(sampling)
        velocity = self._guided_velocity(self.conditions(seeds, cond).label, sampling)
        start = noise(seeds, *self.codec.shape).double().to(float64_device(self.device))
        times = shifted_times(sampling.steps, sampling.shift)
        if sampling.solver == "adaptive":
            end, _ = adaptive(velocity, start, tolerance=sampling.tolerance)
        elif sampling.solver == "ancestral":
            end = ancestral(velocity, start, times, lambda number: self._fresh_noise(seeds, number).to(start))
        else:
            end = FIXED_STEP_SOLVERS[sampling.solver](velocity, start, times)
        return self.codec.decode(end.float().to(self.device)).clamp(-1, 1)

    def _fresh_noise(self, seeds: Sequence[int], number: int) -> Tensor:
        """[len(seeds), *codec.shape]: the noise that the step `number` of an ancestral solver adds."""
        return noise(seeds, *self.codec.shape, stream=f"step {number}")

    def _guided_velocity(self, label: Tensor | None, sampling: FlowSampling) -> Velocity:
        """The guided velocity for classes [B], as solvers call it: in float64 outside, in the network's number format inside.

        `sampling` is resolved. Errors: `InputError` where there is nothing that guidance could lead away from.
        """
        weight, by_class = sampling.guidance, sampling.guide == "class"
        assert weight is not None
        weak_network = self._weak_network(weight, by_class)
        weak_label = None if by_class else label
        mix = extrapolate_scaled if by_class else extrapolate

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            position, t = x.to(self.device, torch.float32), time.to(self.device, torch.float32)
            applies = (t <= sampling.guidance_from) & (t >= sampling.guidance_to) & (weight != 1)
            with autocast(self.device, choose(self.device)):
                v = guided(
                    lambda: self._velocity(position, t, label),
                    lambda: self._velocity(position, t, weak_label, weak_network),
                    lambda strong, weak: mix(strong, weak, weight),
                    applies,
                )
            return v.to(x)

        return velocity

    def resolve_sampling(self, sampling: Sampling) -> FlowSampling:
        """With the weight of guidance and with what it leads away from, by what the model was trained for."""
        assert isinstance(sampling, FlowSampling)
        weight = GUIDANCE_BY_CLASS if self.config.labels and self.config.drop_labels > 0 else 1.0
        guide = "class" if self.config.labels else "checkpoint"
        return sampling.with_values(
            guidance=weight if sampling.guidance is None else sampling.guidance,
            guide=guide if sampling.guide == "auto" else sampling.guide,
        )

    def _weak_network(self, weight: float, by_class: bool) -> nn.Module:
        """The network that guidance by `weight` leads away from: this one, without the class, or that of the early checkpoint.

        Errors: `InputError` where a weight other than 1 has nothing to lead away from.
        """
        if weight == 1 or (by_class and self.config.labels and self.config.drop_labels > 0):
            return self.network
        if by_class and self.config.labels:
            raise InputError(
                f"guidance={weight:g} needs a model that was trained to go without a class as well; train one with "
                "method.drop_labels=0.1, or set guidance=1"
            )
        if by_class:
            raise InputError(
                f"guidance={weight:g} leads away from the model without a class, and this one has no classes; "
                "set guide=checkpoint, or leave guidance out"
            )
        if self._guide is None:
            weights = None if self.read_guide is None else self.read_guide()
            if weights is None:
                raise InputError(
                    f"guidance={weight:g} leads away from an early checkpoint, and this run kept none; train with "
                    "ema.kind=power to the end, or leave guidance out"
                )
            guide = copy.deepcopy(self.network)
            guide.load_state_dict({name.removeprefix("network."): weight for name, weight in weights.items()}, strict=True)
            object.__setattr__(self, "_guide", guide)  # not a part of this module, whose weights are the checkpoint's
        assert self._guide is not None
        return self._guide

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        """With a class drawn by the seed where none is requested, as often as it was in training."""
        return replace(requested, label=draw_labels(self.shares, seeds, requested.label) if self.config.labels else None)

    @torch.no_grad()
    def fit_at_start(self, batches: Iterable[Batch]) -> None:
        """The mean and the deviation of each pixel, and how often each class is there."""
        pictures = torch.cat([self.encoded(batch) for batch in itertools.islice(batches, -(-FIT_IMAGES // 64))])
        self.centre.copy_(pictures.mean(0))
        self.spread.copy_(pictures.std(0).clamp(min=MIN_SPREAD))
        if self.config.labels:
            count_labels(batches, self.shares)

    def read_pictures(self, pictures: PictureSet) -> tuple[str, ...]:
        """Solves the transport problem of the pictures, where they are paired with noise."""
        if self.config.pairing == "none":
            return ()
        coupling = self._couplings[pictures] = Coupling(pictures, self.encoded, self.config.labels)
        return (coupling.report(),)
