"""Images per second of limner's detector `inception` and of pytorch-fid's network, the same drawn weights in both.

    /tmp/fid/bin/python benchmarks/inception_speed.py --threads 1 --rounds 5

It runs in one process, by an interpreter that has pytorch-fid. limner's is timed as `evaluate` uses it, from uint8 pictures of
299×299 to features; pytorch-fid's network, in evaluation without gradients, is handed the finished float pixels, as one batch,
channels first, as pytorch-fid does it. They must agree to 1e-5 first. The two alternate, so that whatever else the machine does
meets both alike, and who is first changes from round to round; what counts is the median of the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import common  # benchmarks/common.py, beside this file

sys.path[:0] = [str(common.SOURCE), str(common.SOURCE.parent / "tests")]
MOST = 1e-5
"""How far features may be from each other."""


def contenders(batch: int) -> tuple[Callable[[], object], Callable[[], object], float]:
    """limner's and pytorch-fid's turn at `batch` pictures, and how far their features are from each other."""
    import torch

    from limner.core.precision import exact
    from limner.metrics.features.inception import Inception
    from limner.metrics.features.inception_net import SIDE
    from made_inception import published_weights

    try:
        from pytorch_fid import inception
    except ImportError as error:
        raise SystemExit(f"{sys.executable} has no pytorch-fid ({error}); run this by an interpreter that has") from error
    drawn, shape = published_weights(), (SIDE, SIDE, 3)
    inception.load_state_dict_from_url = lambda *args, **kwargs: drawn
    theirs = inception.InceptionV3(resize_input=False, normalize_input=False).eval()
    ours = Inception(shape, drawn, "drawn")
    random = torch.Generator().manual_seed(0)
    tiles = torch.randint(0, 256, (batch, 4, 4, 3), generator=random)
    noise = torch.randint(-64, 65, (batch, *shape), generator=random)
    place = torch.arange(SIDE) * 4 // SIDE
    pictures = (tiles[:, place][:, :, place] + noise).clamp(0, 255).to(torch.uint8).numpy()
    pixels = ours.prepare(pictures).contiguous()  # channels first, as pytorch-fid has them

    def limner_s() -> torch.Tensor:
        return ours.features(pictures)

    def pytorch_fid_s() -> torch.Tensor:
        with exact("cpu"):
            return theirs(pixels)[0].flatten(1)

    return limner_s, pytorch_fid_s, float((limner_s() - pytorch_fid_s()).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=48, help="pictures of a turn; limner takes 16 at a time on a processor")
    arguments = parser.parse_args()
    if min(arguments.threads, arguments.rounds, arguments.batch) < 1:
        parser.error("--threads, --rounds and --batch are 1 or more")
    import limner  # noqa: F401, I001  (before torch: it says how long torch's threads spin)
    import torch

    from limner.core.precision import processor

    torch.set_num_threads(arguments.threads)
    *turns, apart = contenders(arguments.batch)  # which warms both
    if not apart <= MOST:
        raise SystemExit(f"features differ by {apart:.1e}, more than {MOST:g}: these are not the same networks")
    speeds: tuple[list[float], list[float]] = ([], [])
    for number in range(arguments.rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            start = time.perf_counter()
            turns[which]()
            speeds[which].append(arguments.batch / (time.perf_counter() - start))
    ratios = sorted(a / b for a, b in zip(*speeds, strict=True))
    ours, theirs = map(statistics.median, speeds)
    print(f"{processor()}, torch {torch.__version__}; features differ by at most {apart:.1e}\n")
    print("| threads | batch | rounds | limner, images/s | pytorch-fid | ratio, median (lowest – highest) |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {arguments.threads} | {arguments.batch} | {arguments.rounds} | {ours:.2f} | {theirs:.2f} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f}) |"
    )


if __name__ == "__main__":
    main()
