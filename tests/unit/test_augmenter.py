"""An augmenter beside its pictures: how many draws it takes, how its probability moves and is kept, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from limner.core.errors import InputError
from limner.methods.gan.augment import Augmenter
from limner.methods.gan.config import AugmentConfig


def test_draws_are_counted() -> None:
    full = Augmenter(AugmentConfig(kind="diff"), (3, 8, 8)), Augmenter(AugmentConfig(kind="adaptive"), (3, 8, 8))
    assert [augment.draws for augment in full] == [7, 28]
    assert Augmenter(AugmentConfig(kind="diff", policy=("cutout", "cutout")), (3, 8, 8)).draws == 2
    assert Augmenter(AugmentConfig(kind="adaptive", transforms=("colour", "blit"), mix=0.1), (3, 8, 8)).draws == 19
    with pytest.raises(ValueError, match="uniforms of shape"):
        full[0](torch.zeros(3, 3, 8, 8), torch.zeros(3, 6))


def test_adapt_moves_p_by_the_share_of_images_and_stays_within_bounds() -> None:
    augment = Augmenter(AugmentConfig(kind="adaptive", target=0.6, speed=1000, most=0.8), (1, 4, 4))

    def told(mean_sign: float, count: float) -> float:
        augment.adapt(torch.tensor(mean_sign * count), torch.tensor(count))
        return float(augment.p)

    assert told(1.0, 100) == pytest.approx(0.1)
    assert told(0.625, 50) == pytest.approx(0.15)
    assert told(0.594, 20) == pytest.approx(0.13)
    assert told(0.0, 0) == pytest.approx(0.13), "told nothing, it stays"
    assert told(1.0, 5000) == pytest.approx(0.8)
    assert told(-1.0, 5000) == 0.0
    for kind in ("none", "diff"):
        other = Augmenter(AugmentConfig(kind=kind), (1, 4, 4))
        other.adapt(torch.tensor(5000.0), torch.tensor(5000.0))
        assert float(other.p) == 0.0


def test_p_is_saved_and_restored() -> None:
    config = AugmentConfig(kind="adaptive", start=0.25, speed=1000)
    augment, fresh = Augmenter(config, (1, 8, 8)), Augmenter(config, (1, 8, 8))
    assert float(fresh.p) == 0.25
    augment.adapt(torch.tensor(123.0), torch.tensor(123.0))
    assert dict(augment.state_dict()) == {"p": torch.tensor(0.25 + 0.123)}
    fresh.load_state_dict(augment.state_dict())
    assert torch.equal(fresh.p, augment.p)
    images, uniforms = torch.rand(9, 1, 8, 8), torch.rand(9, 28)
    assert torch.equal(fresh(images, uniforms), augment(images, uniforms))


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"kind": "ada"}, {"policy": ()}, {"most": 1.5}, {"start": 0.9}, {"mix": -0.1}, {"speed": 0}, {"strength": 1}):
        with pytest.raises(ValidationError):
            AugmentConfig(**wrong)
    for config in (AugmentConfig(kind="diff"), AugmentConfig(kind="adaptive")):
        with pytest.raises(InputError, match="not 2"):
            Augmenter(config, (2, 8, 8))
    Augmenter(AugmentConfig(kind="diff", policy=("cutout",)), (2, 8, 8))
