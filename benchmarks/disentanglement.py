"""Whether latents hold one factor each: presets of the VAE family on drawn scenes of one object, whose factors are known.

Every model is trained alone by `limner train` and scored by `limner evaluate --metrics disentanglement`, over several seeds.
The last rows tell by how much each preset beats the first one: the mean over seeds of the difference, with the 95 % interval
of Student's t.

    python benchmarks/disentanglement.py --minutes 8 --presets vae,factor-vae,tc-vae --seeds 0,1,2 --out /tmp/disentanglement

`vae:0.5` is `vae` with the others' networks and σ fixed at .5 as in `factor-vae` (`vae:0.3`: in `tc-vae`): the penalty alone
differs. A model that is scored is read from its folder when the program is started again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
DATA = ("data.size=32", "data.limit=50000", "method.latent=10", "score.points=0")
SAME = ("method.blocks=0", "method.widest=64", "method.broadcast=true", "method.down=2", "method.decoder=fixed")
SCORES = {"factor_vae": "FactorVAE score", "mig": "MIG", "dci_disentanglement": "DCI", "beta_vae": "β-VAE score", "sap": "SAP"}
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Student's t for so many seeds, 2.5 % on either side."""


def limner(*words: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "limner", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return dict(json.loads(done.stdout))


def scored(preset: str, minutes: float, seed: int, out: Path) -> dict[str, Any]:
    """Images seen, and each score, of one model."""
    name = f"{preset.replace(':', '-')}-{minutes:g}-{seed}"
    kept = out / f"{name}.json"
    if not kept.is_file():
        base, _, sigma = preset.partition(":")
        settings = (*DATA, *((*SAME, f"method.sigma={sigma}") if sigma else ()))
        told = limner("train", "scenes-1", "--preset", base, "--minutes", str(minutes), "--seed", str(seed),
                      "--out", str(out / "runs"), "--name", name, *settings)  # fmt: skip
        found = limner("evaluate", told["run"], "--metrics", "disentanglement")
        values = {score: found["metrics"][score]["value"] for score in SCORES}
        kept.write_text(json.dumps({"images": told["images"], **values}))
    return dict(json.loads(kept.read_text()))


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half of the 95 % interval."""
    if len(values) < 2:
        return values[0], math.inf
    return statistics.mean(values), T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--presets", default="vae,factor-vae,tc-vae")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("disentanglement"))
    parser.add_argument("--json", action="store_true", help="the differences as JSON, in the place of the table")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    presets, seeds = arguments.presets.split(","), [int(word) for word in arguments.seeds.split(",")]
    lines = ["| preset | seed | images | " + " | ".join(SCORES.values()) + " |", "|---|---|---|" + "---|" * len(SCORES)]
    found: dict[str, list[dict[str, Any]]] = {}
    for preset in presets:
        for seed in seeds:
            row = scored(preset, arguments.minutes, seed, arguments.out)
            found.setdefault(preset, []).append(row)
            lines.append(f"| `{preset}` | {seed} | {row['images']:,} | " + " | ".join(f"{row[s]:.3f}" for s in SCORES) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    told: dict[str, dict[str, dict[str, float]]] = {}
    for preset in presets[1:]:
        cells = []
        for score in SCORES:
            pairs = zip(found[preset], found[presets[0]], strict=True)
            mean, half = interval([mine[score] - theirs[score] for mine, theirs in pairs])
            told.setdefault(preset, {})[score] = {"mean": mean, "half": half}
            cells.append(f"{mean:+.3f} ± {half:.3f}")
        lines.append(f"| `{preset}` − `{presets[0]}` | | | " + " | ".join(cells) + " |")
    print(json.dumps(told) if arguments.json else "\n".join(lines))


if __name__ == "__main__":
    main()
