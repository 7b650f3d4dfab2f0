"""torchcfm's flow matching with minibatch transport. See `convention.py`.

https://github.com/atong01/conditional-flow-matching/blob/main/examples/images/mnist_example.ipynb, which is for MNIST: nothing
of the training had to be changed. It draws by `dopri5` with tolerances of 1e-4; here by 25 steps of the midpoint method, two
evaluations each, so that drawing thousands of pictures ends.
"""

from __future__ import annotations

import os

import convention
import torch

os.environ["POT_BACKEND_DISABLE_TENSORFLOW"] = "1"  # POT imports whatever is installed, for half a minute
from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher
from torchcfm.models.unet import UNetModel
from torchdiffeq import odeint

RECIPE = (
    "torchcfm's examples/images/mnist_example.ipynb: OT-CFM, σ 0, its U-Net (32 channels, one residual block), Adam 1e-3, "
    "batch 128; drawn by the midpoint method, 50 evaluations"
)
BATCH = 128


def main() -> None:
    task = convention.asked(__doc__)
    torch.manual_seed(task.seed)
    pixels = torch.from_numpy(task.train).permute(0, 3, 1, 2).contiguous()
    model = UNetModel(dim=(1, 28, 28), num_channels=32, num_res_blocks=1)
    optimiser = torch.optim.Adam(model.parameters())
    matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)
    seen, clock = 0, task.clock()
    for rows in task.batches(BATCH):
        optimiser.zero_grad()
        real = pixels[rows].float().div_(127.5).sub_(1)
        t, between, flow = matcher.sample_location_and_conditional_flow(torch.randn_like(real), real)
        torch.mean((model(t, between) - flow) ** 2).backward()
        optimiser.step()
        seen += BATCH
        if clock.over:
            break
    seconds = clock.seconds
    model.eval()
    times = torch.linspace(0, 1, convention.EVALUATIONS // 2 + 1)

    def some(count: int) -> torch.Tensor:
        return odeint(model, torch.randn(count, 1, 28, 28), times, method="midpoint")[-1].add(1).div(2)

    with torch.no_grad():
        images, drawing = convention.draw(task, some)
    convention.answer(
        task,
        images=images,
        images_seen=seen,
        seconds=seconds,
        recipe=RECIPE,
        drawing=drawing,
        parameters=sum(weight.numel() for weight in model.parameters()),
        packages=("torchcfm", "torch"),
    )


if __name__ == "__main__":
    main()
