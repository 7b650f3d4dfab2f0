"""A battery of distortions of real pictures: which view tells them from real ones, and whether in the order of people.

    python benchmarks/battery.py --sets fashion-mnist,cifar-10 --count 2000 --runs cifar-10=runs/0001

Every distortion has levels that stand in one of three grades: 1 can be seen where one looks for it, 2 is objected to at first
sight, 3 is no picture of the kind any more. Pictures of the validation split are distorted and compared with the test split.
For each view the table shows the Fréchet distance less its null, as a share of the variance of real features (100 % is the
distance of pictures that all have the mean features); a dash where it is not told from the null (z ≤ 4). Below stands for each
view how often it puts a distortion of a higher grade above one of a lower grade (1 is always, ½ is chance), and, for each of
the `--runs`, how often it puts samples of an earlier checkpoint above those of a later one.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from limner.data.prepare import prepare
from limner.evaluation.inputs import EvaluationInput
from limner.evaluation.views import VIEWS, View, view_of
from limner.runs.model import load
from limner.runs.run import Run

Pixels = NDArray[np.uint8]


def blur(images: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Gaussian blur of `sigma` pixels."""
    return gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest").round().astype(np.uint8)


def noise(images: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """White noise of standard deviation `sigma` of 255."""
    return (images + random.normal(0, sigma, images.shape)).round().clip(0, 255).astype(np.uint8)


def jpeg(images: Pixels, quality: float, random: np.random.Generator) -> Pixels:
    """JPEG at this quality."""
    out = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze()).save(buffer, "JPEG", quality=int(quality))
        out.append(np.asarray(Image.open(buffer)).reshape(image.shape))
    return np.stack(out)


def warp(images: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Elastic: each pixel moves by a smooth random field whose standard deviation is `strength` pixels."""
    count, height, width, channels = images.shape
    rows, columns = np.mgrid[:height, :width]
    out = np.empty_like(images)
    for number in range(count):
        field = np.stack([gaussian_filter(random.normal(size=(height, width)), height / 10) for _ in range(2)])
        field *= strength / field.std()
        for channel in range(channels):
            places = [rows + field[0], columns + field[1]]
            out[number, ..., channel] = map_coordinates(images[number, ..., channel], places, order=1, mode="nearest")
    return out


def shuffle(images: Pixels, patches: float, random: np.random.Generator) -> Pixels:
    """Cuts each picture into `patches` x `patches` pieces and puts them together in another order."""
    side = int(patches)
    height, width = images.shape[1] // side, images.shape[2] // side
    out = images.copy()
    for number in range(len(images)):
        places = list(itertools.product(range(side), repeat=2))
        for (i, j), k in zip(places, random.permutation(side * side), strict=True):
            y, x = places[k]
            piece = images[number, y * height : (y + 1) * height, x * width : (x + 1) * width]
            out[number, i * height : (i + 1) * height, j * width : (j + 1) * width] = piece
    return out


def halves(images: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """In this share of the pictures the right half comes from another picture."""
    out, changed = images.copy(), np.flatnonzero(random.random(len(images)) < share)
    out[changed, :, images.shape[2] // 2 :] = images[random.permutation(len(images))[changed], :, images.shape[2] // 2 :]
    return out


def texture(images: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """This share of each picture is its own texture without objects: the same spectrum, with random phases (Galerne 2011)."""
    phases = np.angle(np.fft.fft2(random.normal(size=(len(images), *images.shape[1:3])), axes=(1, 2)))[..., None]
    spectrum = np.fft.fft2(images.astype(np.float64), axes=(1, 2))
    phases[:, 0, 0] = 0  # the mean stays
    textures = np.fft.ifft2(spectrum * np.exp(1j * phases), axes=(1, 2)).real
    return ((1 - share) * images + share * textures).round().clip(0, 255).astype(np.uint8)


def repeat(images: Pixels, kinds: float, random: np.random.Generator) -> Pixels:
    """Only so many different pictures, each many times: a model that has collapsed."""
    return images[np.arange(len(images)) % int(kinds)]


DISTORTIONS: dict[str, tuple[Callable[[Pixels, float, np.random.Generator], Pixels], dict[int, float]]] = {
    "blur, σ in pixels": (blur, {1: 0.5, 2: 1.0, 3: 3.0}),
    "noise, σ of 255": (noise, {1: 8, 2: 25, 3: 90}),
    "JPEG, quality": (jpeg, {1: 50, 2: 12, 3: 2}),
    "elastic, σ in pixels": (warp, {1: 0.5, 2: 1.5, 3: 4.0}),
    "patches shuffled": (shuffle, {2: 2, 3: 4}),
    "mixed halves, share": (halves, {1: 0.1, 2: 0.5, 3: 1.0}),
    "texture without objects, share": (texture, {1: 0.15, 2: 0.4, 3: 1.0}),
    "collapse, different pictures": (repeat, {1: 400, 2: 50, 3: 4}),
}


def concordance(grades: Sequence[int], values: Sequence[float]) -> float:
    """How often, of two distortions of different grades, the one of the higher grade has the higher value."""
    pairs = [(a, b) for a, b in itertools.combinations(range(len(grades)), 2) if grades[a] != grades[b]]
    right = [(values[b] - values[a]) * (grades[b] - grades[a]) > 0 for a, b in pairs]
    return float(np.mean(right))


def sees(view: View) -> bool:
    """Whether the pictures are told from real ones."""
    return view.z is not None and view.z > 4


def _runs(text: str) -> dict[str, list[Path]]:
    """Set -> its runs.

    >>> _runs("mnist=a,mnist=b")
    {'mnist': [PosixPath('a'), PosixPath('b')]}
    """
    runs: dict[str, list[Path]] = {}
    for part in text.split(","):
        name, _, run = part.partition("=")
        runs.setdefault(name, []).append(Path(run))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="fashion-mnist,cifar-10")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--runs", type=_runs, default={}, help="runs of the sets: cifar-10=runs/0001,fashion-mnist=runs/0002")
    parser.add_argument("--sheet", type=Path, help="folder for a sheet of eight pictures of each distortion")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    for name in arguments.sets.split(","):
        dataset = prepare(name)
        random = np.random.default_rng(0)
        rows = random.permutation(dataset.indices("val"))[: arguments.count]
        real = dataset.images.gather(np.sort(rows))
        print(f"\n### {name}: {len(real):,} pictures of val against test\n")
        print(f"| distortion | grade | level | {' | '.join(VIEWS)} |")
        print(f"|---|---|---|{'---|' * len(VIEWS)}")
        found: list[tuple[str, int, float, dict[str, View]]] = []
        strips = []
        for what, (distort, levels) in {"nothing": (lambda images, *_: images, {0: 0.0}), **DISTORTIONS}.items():
            for grade, level in levels.items():
                pictures = distort(real, level, np.random.default_rng(1))
                strips.append(np.concatenate(list(pictures[:8]), 1))
                views = {view: view_of(EvaluationInput(pictures), dataset, "test", view) for view in VIEWS}
                found.append((what, grade, level, views))
                cells = [f"{one.relative:.2%}" if sees(one) else f"– ({one.relative:.2%})" for one in views.values()]
                print(f"| {what} | {grade} | {level:g} | {' | '.join(cells)} |", flush=True)
        grades = [grade for _, grade, _, _ in found]
        orders = [concordance(grades, [views[name].relative for *_, views in found]) for name in VIEWS]
        print(f"| order | | | {' | '.join(f'{order:.3f}' for order in orders)} |")
        for run in arguments.runs.get(name, []):
            samples = []
            for checkpoint in Run(run).checkpoints():
                pictures = load(run, str(checkpoint.images)).sample(range(arguments.count))
                strips.append(np.concatenate(list(pictures[:8]), 1))
                views = {view: view_of(EvaluationInput(pictures), dataset, "test", view) for view in VIEWS}
                samples.append((-checkpoint.images, views))
                cells = [f"{one.relative:.2%}" for one in views.values()]
                print(f"| samples of {run.name} | | {checkpoint.images:,} images | {' | '.join(cells)} |", flush=True)
            ages = [age for age, _ in samples]
            orders = [concordance(ages, [views[name].relative for _, views in samples]) for name in VIEWS]
            print(f"| order of its checkpoints | | | {' | '.join(f'{order:.3f}' for order in orders)} |")
        most = np.array([max(one.relative for one in views.values()) for *_, views in found])
        print(f"\nthe view that sees most: order {concordance(grades, most.tolist()):.3f}")
        for grade in sorted(set(grades)):
            of_grade = most[np.array(grades) == grade]
            print(f"grade {grade}: {of_grade.min():.2%} to {of_grade.max():.2%}")
        if arguments.sheet:
            arguments.sheet.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.concatenate(strips, 0).squeeze()).save(arguments.sheet / f"{name}.png")


if __name__ == "__main__":
    main()
