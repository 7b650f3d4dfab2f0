"""The stepper on a game small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limner.core.capabilities import Pixels
from limner.core.cond import Batch, Cond
from limner.core.config import Sampling
from limner.core.errors import InputError
from limner.core.layer_state import StatefulLayer
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.optimiser_settings import Clip, Optimiser
from limner.core.sampling import generate
from limner.core.schedule import Schedule
from limner.training.step import NORMS_EVERY, Stepper


class Scale(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value]))
        self.counter = Counter()


class Counter(StatefulLayer):
    """Notes how many images it is shown, and adds up what it is moved by."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[float] = []
        self.moved: list[dict[str, float]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.notes.append(float(len(x)))
        return x

    def take_statistics(self) -> dict[str, Tensor]:
        noted = {"images": torch.tensor([sum(self.notes)])} if self.notes else {}
        self.notes.clear()
        return noted

    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        self.moved.append({name: float(value) for name, value in sums.items()})


class Game(Method):
    """a minimises (a·x − b)², b minimises b·x; x is the image's mean."""

    def __init__(self, phases: Sequence[Phase], clip: Clip | None = None, lr: Schedule | None = None) -> None:
        super().__init__(Pixels((1, 2, 2)))
        self.a, self.b = Scale(1.0), Scale(2.0)
        self._phases, self._clip, self._lr = tuple(phases), clip, lr or Schedule(value=0.1)
        self.told: list[tuple[str, dict[str, float]]] = []
        self.seen: list[tuple[str, list[float], float]] = []

    def players(self) -> Mapping[str, Player]:
        sgd = Optimiser(kind="sgd", lr=self._lr, betas=(0.0, 0.9))
        return {"one": Player("a", sgd, self._clip), "two": Player("b", sgd, averaged=False)}

    def phases(self) -> tuple[Phase, ...]:
        return self._phases

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        x = batches[0].images.flatten(1).mean(1)
        self.seen.append((phase, [float(batch.images.flatten(1).mean(1)[0]) for batch in batches], float(torch.rand(()))))
        self.a.counter(x), self.b.counter(x)
        of = {"one": (self.a.value * x - self.b.value).square(), "two": self.b.value * x}
        sums = {"count": torch.tensor([float(len(x))])}
        if phase == "joined":
            return Losses({"one": 3 * self.a.value * x}, sums=sums)
        if phase == "joint":
            return Losses({name: loss.detach() for name, loss in of.items()}, sums=sums, joint=of["one"])
        return Losses(of, logs={"x": x}, sums=sums)

    def after_step(self, phase: str, sums: Mapping[str, Tensor], at: StepContext) -> None:
        self.told.append((phase, {name: float(value) for name, value in sums.items()}))

    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        assert len(seeds) == self.chunk
        label = torch.zeros(len(seeds)) if cond.label is None else cond.label
        return torch.tensor([float(seed) for seed in seeds]) + 1000 * label


def images(*means: float) -> Tensor:
    return torch.tensor(means).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def reading(*means: float) -> Any:
    def draw(stream: int, start: int, size: int) -> Batch:
        row = torch.tensor(means)[torch.arange(start, start + size) % len(means)]
        return Batch(images(*(row + 100 * stream).tolist()))

    return draw


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_step_is_the_mean_gradient_whatever_the_chunks(chunks: int) -> None:
    game = Game([Phase("both", ("one", "two"))])
    logs = Stepper(game, 4, chunks, "fp32", 0).step(reading(1.0, 2.0, 3.0, -1.0), StepContext(0, 0.0), 0)
    x = [1.0, 2.0, 3.0, -1.0]
    slope_a = sum(2 * (value - 2.0) * value for value in x) / 4
    assert game.a.value.item() == pytest.approx(1 - 0.1 * slope_a, rel=1e-6)
    assert game.b.value.item() == pytest.approx(2 - 0.1 * sum(x) / 4, rel=1e-6), "its own loss alone"
    assert float(logs["one"]) == pytest.approx(sum((value - 2.0) ** 2 for value in x) / 4)
    assert float(logs["two"]) == pytest.approx(2 * sum(x) / 4)
    assert float(logs["x"]) == pytest.approx(sum(x) / 4)
    assert game.told == [("both", {"count": 4.0})], "once per phase, from all chunks"
    assert len(game.seen) == chunks
    assert all(weight.grad is None for weight in game.parameters())


def test_a_joint_backward_serves_both() -> None:
    game = Game([Phase("joint", ("one", "two"))])
    Stepper(game, 2, 2, "fp32", 0).step(reading(1.0, 3.0), StepContext(0, 0.0), 0)
    assert game.a.value.item() == pytest.approx(1 - 0.1 * ((2 * (1 - 2) * 1) + (2 * (3 - 2) * 3)) / 2)
    assert game.b.value.item() == pytest.approx(2 - 0.1 * (-2 * (1 - 2) - 2 * (3 - 2)) / 2)


def test_a_phase_that_joins_adds_its_gradient_before_the_clip() -> None:
    phases = [Phase("both", ("one",)), Phase("joined", ("one",), every=2, joins="both")]
    own, joins = 2 * (1.0 * 3.0 - 2.0) * 3.0, 3 * (3.0 + 800)  # the second phase reads stream 8, of images of its own
    for iteration, slope in ((0, min(own + joins, 2412.0)), (1, own)):
        game = Game(phases, clip=Clip(by="value", limit=2412.0))
        Stepper(game, 1, 1, "fp32", 0).step(reading(3.0), StepContext(0, 0.0), iteration)
        assert joins < 2412 < own + joins
        assert game.a.value.item() == pytest.approx(1 - 0.1 * slope)
        assert [name for name, _ in game.told] == (["both", "joined"] if iteration == 0 else ["both"])
        assert game.b.value.item() == 2.0
    game = Game(phases, clip=Clip(by="norm", limit=1.0))
    Stepper(game, 1, 1, "fp32", 0).step(reading(2.0), StepContext(0, 0.0), 0)
    assert game.a.value.item() == pytest.approx(0.9)


def test_norms_of_gradients_are_taken_now_and_then_before_the_clip() -> None:
    phases = [Phase("often", ("one",)), Phase("seldom", ("two",), every=5)]
    stepper = Stepper(Game(phases, clip=Clip(by="norm", limit=0.01)), 2, 1, "fp32", 0)
    seen = {i: stepper.step(reading(1.0, 3.0), StepContext(2 * i, 0.0), i) for i in range(6 * NORMS_EVERY)}
    assert float(seen[0]["gradient_norm/one"]) == pytest.approx(abs(2 * (1 - 2) * 1 + 2 * (3 - 2) * 3) / 2)
    assert float(seen[0]["gradient_norm/two"]) == pytest.approx(802, rel=1e-6), "of the stream that the phase reads"
    found = {name: [i for i, logs in seen.items() if f"gradient_norm/{name}" in logs] for name in ("one", "two")}
    assert found == {"one": list(range(0, 6 * NORMS_EVERY, NORMS_EVERY)), "two": [0, 5 * NORMS_EVERY]}


def test_looking_takes_every_phase_that_steps_and_moves_nothing() -> None:
    phases = [Phase("both", ("one", "two")), Phase("joined", ("one",), joins="both"), Phase("late", ("two",), start=0.5)]
    game = Game(phases)
    stepper = Stepper(game, 4, 2, "fp32", 0)
    seen = stepper.evaluate_losses(reading(1.0, 2.0, 3.0, 5.0), StepContext(400, 0.2), 4)
    assert seen == pytest.approx({"one": (1 + 0 + 1 + 9) / 4, "two": 2 * 2.75, "x": 2.75})
    assert [name for name, _, _ in game.seen] == ["both", "both"]
    assert [means for _, means, _ in game.seen] == [[1.0], [3.0]], "from the beginning, wherever the run is"
    assert game.told == []
    assert (game.a.value.item(), game.b.value.item()) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("phase", "progress", "due"),
    [
        (Phase("p", ("one",)), 0.0, True),
        (Phase("p", ("one",), start=0.5), 0.49, False),
        (Phase("p", ("one",), start=0.5), 0.5, True),
        (Phase("p", ("one",), stop=0.5), 0.5, False),
        (Phase("p", ("one",)), 1.0, True),
        (Phase("p", ("one",), stop=0.9), 1.0, False),
    ],
)
def test_a_phase_takes_part_between_its_fractions(phase: Phase, progress: float, due: bool) -> None:
    game = Game([phase])
    Stepper(game, 1, 1, "fp32", 0).step(reading(1.0), StepContext(0, progress), 0)
    assert bool(game.seen) == due


def test_every_counts_iterations() -> None:
    game = Game([Phase("often", ("one",)), Phase("seldom", ("two",), every=3)])
    stepper = Stepper(game, 1, 1, "fp32", 0)
    for iteration in range(7):
        stepper.step(reading(0.0), StepContext(iteration, 0.0), iteration)
    assert [name for name, _, _ in game.seen].count("seldom") == 3
    assert [name for name, _, _ in game.seen].count("often") == 7


def test_each_phase_reads_fresh_batches_and_each_place_has_its_own_draws() -> None:
    game = Game([Phase("first", ("one",), batches=2), Phase("second", ("two",))])
    stepper = Stepper(game, 4, 2, "fp32", 7)
    stepper.step(reading(0.0, 1.0, 2.0, 3.0), StepContext(0, 0.0), 0)
    assert [means for _, means, _ in game.seen] == [[0.0, 100.0], [2.0, 102.0], [800.0], [802.0]]
    draws = [draw for _, _, draw in game.seen]
    assert len(set(draws)) == 4
    again = Game(game.phases())
    Stepper(again, 4, 2, "fp32", 7).step(reading(0.0, 1.0, 2.0, 3.0), StepContext(0, 0.0), 0)
    assert [draw for _, _, draw in again.seen] == draws
    later = Game(game.phases())
    Stepper(later, 4, 2, "fp32", 7).step(reading(0.0, 1.0, 2.0, 3.0), StepContext(4, 0.0), 1)
    assert not {draw for _, _, draw in later.seen} & set(draws)


def test_the_learning_rate_follows_progress() -> None:
    for progress, lr in ((0.0, 0.1), (0.5, 0.1), (0.75, 0.05), (1.0, 0.0)):
        game = Game([Phase("both", ("two",))], lr=Schedule(value=0.1, decay_from=0.5))
        Stepper(game, 1, 1, "fp32", 0).step(reading(1.0), StepContext(0, progress), 0)
        assert game.b.value.item() == pytest.approx(2 - lr)


def test_state_of_an_unknown_weight_is_refused() -> None:
    stepper = Stepper(Game([Phase("both", ("one",))]), 1, 1, "fp32", 0)
    with pytest.raises(InputError, match="belongs to no weight"):
        stepper.load_state({"c.value/momentum_buffer": torch.zeros(1)})


@pytest.mark.parametrize("count", [1, 31, 32, 33, 70])
def test_generate_works_in_passes_of_one_size(count: int) -> None:
    game = Game([])
    assert generate(game, range(count)).tolist() == [float(seed) for seed in range(count)]
    label = torch.arange(count)
    assert generate(game, range(count), Cond(label=label)).tolist() == [1001.0 * seed for seed in range(count)]


def test_noise_goes_through_one_door() -> None:
    batch = Batch(images(1.0, 2.0, 3.0))
    assert batch.noise(5).shape == (3, 5)
    fixed = batch.drawing(lambda shape, device: torch.full(shape, 4.0))
    assert fixed.noise(2).tolist() == [[4.0, 4.0]] * 3
    assert torch.equal(fixed.images, batch.images)


@pytest.mark.parametrize(
    ("moves", "a", "b"),
    [
        (None, [{"images": 4.0}], []),
        ((), [], []),
        (("b",), [], [{"images": 4.0}]),
        (("a", "b"), [{"images": 4.0}], [{"images": 4.0}]),
    ],
)
def test_a_phase_moves_the_layer_state_that_it_names_once_from_all_chunks(moves: Any, a: list[Any], b: list[Any]) -> None:
    """By default that of its players' modules; what other layers noted in its pass is dropped."""
    game = Game([Phase("one", ("one",), moves=moves)])
    stepper = Stepper(game, 4, 2, "fp32", 0)
    stepper.step(reading(1.0), StepContext(0, 0.0), 0)
    assert (game.a.counter.moved, game.b.counter.moved) == (a, b)
    assert game.a.counter.notes == game.b.counter.notes == []
    stepper.evaluate_losses(reading(1.0), StepContext(0, 0.0), 8)
    assert (game.a.counter.moved, game.b.counter.moved) == (a, b), "looking moves nothing"
    assert game.a.counter.notes == game.b.counter.notes == []
