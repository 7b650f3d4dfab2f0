"""The DCGAN of PyTorch's own examples, eagerly. See `convention.py`.

    https://github.com/pytorch/examples/blob/main/dcgan/main.py

Its networks are for 64x64 pixels, and grow by layers that double the side. 28 is 7 doubled twice, so the layers next to the
picture are kept (64 and 128 channels wide, those with 4x4 kernels as they are) and start from 7x7; all else is that file's.
"""

from __future__ import annotations

import time

import convention
import torch
from torch import nn

RECIPE = "pytorch/examples dcgan/main.py: Adam 2e-4 (.5, .999), batch 64, 100 latents, N(0, .02); its last layers, from 7x7"
LATENT, WIDTH, BATCH = 100, 64, 64


def networks() -> tuple[nn.Module, nn.Module]:
    generator = nn.Sequential(
        nn.ConvTranspose2d(LATENT, 2 * WIDTH, 7, 1, 0, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.ReLU(True),
        nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(True),
        nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, WIDTH, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * WIDTH, 1, 7, 1, 0, bias=False),
        nn.Sigmoid(),
        nn.Flatten(0),
    )
    for layer in (*generator, *discriminator):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return generator, discriminator


def main() -> None:
    task = convention.asked(__doc__)
    torch.manual_seed(task.seed)
    pixels = torch.from_numpy(task.train).permute(0, 3, 1, 2).contiguous()
    g, d = networks()
    opt_g, opt_d = (torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (g, d))
    loss, ones, zeros = nn.BCELoss(), torch.ones(BATCH), torch.zeros(BATCH)
    seen, clock = 0, task.clock()
    for rows in task.batches(BATCH):
        opt_d.zero_grad()
        loss(d(pixels[rows].float().div_(127.5).sub_(1)), ones).backward()
        fake = g(torch.randn(BATCH, LATENT, 1, 1))
        loss(d(fake.detach()), zeros).backward()
        opt_d.step()
        opt_g.zero_grad()
        loss(d(fake), ones).backward()
        opt_g.step()
        seen += BATCH
        if clock.over:
            break
    seconds, began = clock.seconds, time.monotonic()
    with torch.no_grad():  # the example draws without `.eval()`, from the statistics of the batch
        made = torch.cat([g(torch.randn(BATCH, LATENT, 1, 1)) for _ in range(-(-task.count // BATCH))])[: task.count]
    images = made.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    convention.answer(
        task,
        images=images,
        images_seen=seen,
        seconds=seconds,
        recipe=RECIPE,
        drawing=time.monotonic() - began,
        parameters=sum(weight.numel() for network in (g, d) for weight in network.parameters()),
        packages=("torch",),
    )


if __name__ == "__main__":
    main()
