"""denoising-diffusion-pytorch. See `convention.py`.

The README's recipe (https://github.com/lucidrains/denoising-diffusion-pytorch), with the network that its author gives for
pictures of 28x28x1 (issue 119: `dim_mults=(1, 2)`). Its `Trainer` reads a folder by torchvision, whose newest build brings
another torch and CUDA; what the trainer does in a step is done here with the package's own parts, and the module that is only
imported for reading and saving pictures is replaced by an empty one. Left out: mirroring, which shoes and digits do not bear.
It draws by DDIM with 50 steps, where the README takes 250, so that drawing thousands of pictures ends.
"""

from __future__ import annotations

import sys
import types

import convention
import torch

for name in ("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.datasets"):
    sys.modules[name] = types.ModuleType(name)
for name in ("transforms", "utils", "datasets"):
    setattr(sys.modules["torchvision"], name, sys.modules[f"torchvision.{name}"])
from denoising_diffusion_pytorch.denoising_diffusion_pytorch import GaussianDiffusion, Unet  # noqa: E402
from ema_pytorch import EMA  # noqa: E402

RECIPE = (
    "denoising-diffusion-pytorch's README, with the network of its issue 119 for 28x28x1 (dim 64, mults 1 and 2): Adam 8e-5 "
    "(.9, .99), 2 x 32 pictures a step, gradients clipped at 1, EMA .995, autocast (bfloat16 on a processor); DDIM, 50 steps"
)
BATCH, ACCUMULATE = 32, 2


def main() -> None:
    task = convention.asked(__doc__)
    torch.manual_seed(task.seed)
    pixels = torch.from_numpy(task.train).permute(0, 3, 1, 2).contiguous()
    model = GaussianDiffusion(
        Unet(dim=64, dim_mults=(1, 2), channels=1, flash_attn=True),
        image_size=28,
        timesteps=1000,
        sampling_timesteps=convention.EVALUATIONS,
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=8e-5, betas=(0.9, 0.99))
    ema = EMA(model, beta=0.995, update_every=10)
    seen, clock, batches = 0, task.clock(), task.batches(BATCH)
    while not clock.over:
        for _ in range(ACCUMULATE):
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(pixels[next(batches)].float().div_(255))
            (loss / ACCUMULATE).backward()
            seen += BATCH
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        ema.update()
    seconds = clock.seconds
    ema.ema_model.eval()
    with torch.inference_mode():
        images, drawing = convention.draw(task, lambda count: ema.ema_model.sample(batch_size=count))
    convention.answer(
        task,
        images=images,
        images_seen=seen,
        seconds=seconds,
        recipe=RECIPE,
        drawing=drawing,
        parameters=sum(weight.numel() for weight in model.parameters()),
        packages=("denoising-diffusion-pytorch", "torch"),
    )


if __name__ == "__main__":
    main()
