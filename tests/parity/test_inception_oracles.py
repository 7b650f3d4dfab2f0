"""The FID network against pytorch-fid's and torch-fidelity's, where those are installed: one set of drawn weights in all three.

pytorch-fid resizes with pixel centres and maps to x/127.5 − 1, and the original does neither; so its network is given our
pixels, and torch-fidelity, which follows the original, the pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.precision import exact
from limner.metrics.features.inception import Inception, resize
from made_inception import pictures, published_weights

pytorch_fid = pytest.importorskip("pytorch_fid.inception")
torch_fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
interpolate = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")

SIZES = [28, 32, 64, 299, 512]


@pytest.fixture(scope="module")
def drawn() -> dict[str, Tensor]:
    return published_weights()


@pytest.fixture(scope="module")
def fid(drawn: dict[str, Tensor]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *args, **kwargs: drawn)
        return pytorch_fid.InceptionV3(resize_input=False, normalize_input=False).eval()


@pytest.fixture(scope="module")
def fidelity(drawn: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("weights") / "drawn.pth"
    torch.save(drawn, path)
    wanted = ["2048", "logits_unbiased", "logits"]
    return torch_fidelity.FeatureExtractorInceptionV3("drawn", wanted, feature_extractor_weights_path=str(path))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIZES)
def test_features_and_logits(side: int, channels: int, drawn: dict[str, Tensor], fid: Any, fidelity: Any) -> None:
    images = pictures(side, channels)
    ours = Inception((side, side, channels), drawn, "checksum")
    with exact("cpu"):
        batch = ours.prepare(images.numpy()).contiguous(memory_format=torch.channels_last)
        features, logits = ours.forward(batch)
        theirs, unbiased, biased = fidelity(images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).contiguous())
        torch.testing.assert_close(features, theirs, rtol=0, atol=1e-5)
        torch.testing.assert_close(logits, unbiased, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.net.fc(features), biased, rtol=0, atol=1e-5)
        torch.testing.assert_close(features, fid(batch)[0].flatten(1), rtol=0, atol=1e-5)
    assert (features[0] - features[1]).abs().max() > 0.1  # what is equal is no constant


@pytest.mark.parametrize("shape", [(28, 28), (32, 48), (299, 64), (300, 298), (512, 700), (1, 5)])
def test_the_resize_to_the_bit(shape: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, *shape), generator=torch.Generator().manual_seed(0)).float()
    expected = interpolate.interpolate_bilinear_2d_like_tensorflow1x(images, (299, 299), align_corners=False)
    assert torch.equal(resize(images, (299, 299)), expected)
