"""pythae's VQ-VAE and its PixelCNN. See `convention.py`.

`--share` of the minutes is the codec's; turning the training pictures into codes, which the sampler has to do before it is
fitted, is part of the minutes. `images` is drawn with the PixelCNN's batch normalisation in `.eval()`; `samples_train`, in
`.train()` as pythae does by itself. `counts`: how often each code occurs in `reconstructions`.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from typing import Any

import convention
import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VQVAE, VQVAEConfig
from pythae.models.nn.benchmarks.mnist import Decoder_ResNet_VQVAE_MNIST, Encoder_ResNet_VQVAE_MNIST
from pythae.models.vq_vae.vq_vae_utils import Quantizer
from pythae.samplers import PixelCNNSampler, PixelCNNSamplerConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig

RECIPE = (
    "pythae's examples/notebooks/models_training/vqvae_training.ipynb and PixelCNNSampler: its residual networks for MNIST, "
    "512 codes (128 there), moving averages as the book, batch 64, Adam; rates 2e-3 and 3e-3, better than its 1e-3 in trials"
)
CODES, LATENT, BATCH = 512, 16, 64
"""Of pythae's own notebook that trains a VQ-VAE (`examples/notebooks/models_training`), but for the number of codes, 128 there;
and so are the moving averages as its book. Without them the latents run away, and 1 % of the codes are in use."""
CODEC_RATE = 2e-3
"""After 60,000 images 19.7 dB and 19 % of codes in use; the notebook's 1e-3 gave 19.3 dB and 17 %."""
PRIOR_RATE = 3e-3
"""After 60,000 images 3.04 nats per code; 1e-3 gave 3.14 and pythae's default of 1e-4 3.49."""


class TimeUp(Exception):
    """Where a trainer's time is over, after any step."""


class Timed(BaseTrainer):
    """pythae's trainer, until the clock says stop; pythae itself counts in epochs."""

    def __init__(self, until: float, **settings: Any) -> None:
        self.until, self.losses = until, []
        super().__init__(**settings)

    def _optimizers_step(self, model_output: Any = None) -> None:
        super()._optimizers_step(model_output)
        self.losses.append(float(model_output.loss))
        if time.monotonic() >= self.until:
            raise TimeUp

    def told(self, began: float) -> dict[str, Any]:
        """Seconds, images, and the mean loss of each tenth of the steps."""
        tenths = [float(part.mean()) for part in np.array_split(np.array(self.losses), 10) if len(part)]
        return {"seconds": time.monotonic() - began, "images": BATCH * len(self.losses), "losses": tenths}


def train(model: Any, data: torch.Tensor, until: float, rate: float, seed: int, folder: str) -> dict[str, Any]:
    """`model` on `data` [N, C, H, W] until then, in place, and what there is to tell."""
    began = time.monotonic()
    config = BaseTrainerConfig(
        output_dir=folder, per_device_train_batch_size=BATCH, learning_rate=rate, num_epochs=10**6, seed=seed
    )
    trainer = Timed(until, model=model, train_dataset=BaseDataset(data, torch.ones(len(data))), training_config=config)
    with contextlib.suppress(TimeUp):
        trainer.train()
    return trainer.told(began)


@torch.no_grad()
def codes_of(model: VQVAE, pictures: torch.Tensor) -> torch.Tensor:
    """[N, 1, 28, 28] in [0, 1] -> [N, 1, h, w]. As `PixelCNNSampler.fit` does, but without decoding what is thrown away."""
    found = []
    for part in pictures.split(500):
        latents = model.encoder(part).embedding.permute(0, 2, 3, 1)
        found.append(model.quantizer(latents).quantized_indices)
    return torch.cat(found)


def to_uint8(pictures: torch.Tensor) -> np.ndarray:
    """[N, 1, H, W] in [0, 1] -> [N, H, W, 1]"""
    return pictures.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def main() -> None:
    task = convention.asked(__doc__, {"--share": {"type": float, "default": 0.4, "help": "of the minutes, for the codec"}})
    pictures, held_out = (torch.from_numpy(array).permute(0, 3, 1, 2) / 255 for array in (task.train, task.test))
    torch.manual_seed(task.seed)
    config = VQVAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, num_embeddings=CODES, use_ema=True)
    model = VQVAE(config, Encoder_ResNet_VQVAE_MNIST(config), Decoder_ResNet_VQVAE_MNIST(config))
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        turn, end = (began + 60 * task.minutes * share for share in (task.told.share, 1.0))
        codec = train(model, pictures, turn, CODEC_RATE, task.seed, folder)
        # The sampler calls `quantizer.embeddings` as a layer, which it is without EMA alone.
        book, model.quantizer = model.quantizer.embeddings, Quantizer(config)
        model.quantizer.embeddings.weight.data.copy_(book)
        sampler = PixelCNNSampler(model, PixelCNNSamplerConfig())
        codes = codes_of(model, pictures)
        encoding = time.monotonic() - began - codec["seconds"]
        prior = train(sampler.pixelcnn_model, codes, end, PRIOR_RATE, task.seed, folder)
        seconds = time.monotonic() - began
    sampler.is_fitted = True  # `fit` trains by epochs alone; all else that it does was done above
    samples, drawing = {}, 0.0
    for mode in ("eval", "train"):  # in this order: in `.train()` drawing moves the averages that `.eval()` reads
        sampler.pixelcnn_model.train(mode == "train")
        torch.manual_seed(task.seed)
        began = time.monotonic()
        with torch.no_grad():
            samples[mode] = to_uint8(sampler.sample(task.count))
        drawing = time.monotonic() - began
    with torch.no_grad():
        back = torch.cat([model({"data": part}).recon_x for part in held_out.split(500)])
    counts = torch.bincount(codes_of(model, held_out).flatten(), minlength=CODES)
    convention.answer(
        task,
        images_seen=codec["images"] + prior["images"],
        seconds=seconds,
        recipe=RECIPE,
        drawing=drawing,
        parameters=sum(weight.numel() for part in (model, sampler.pixelcnn_model) for weight in part.parameters()),
        codec=codec,
        prior=prior,
        encoding=encoding,
        packages=("pythae", "torch"),
        images=samples["eval"],
        arrays={"samples_train": samples["train"], "reconstructions": to_uint8(back), "counts": counts.numpy()},
    )


if __name__ == "__main__":
    main()
