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
import sys
from pathlib import Path
from typing import Any

import common  # benchmarks/common.py, beside this file

DATA = ("data.size=32", "data.limit=50000", "method.latent=10", "score.points=0")
SAME = ("method.blocks=0", "method.widest=64", "method.broadcast=true", "method.down=2", "method.decoder=fixed")
SCORES = {"factor_vae": "FactorVAE score", "mig": "MIG", "dci_disentanglement": "DCI", "beta_vae": "β-VAE score", "sap": "SAP"}


def scored(preset: str, minutes: float, seed: int, out: Path) -> dict[str, Any]:
    """Images seen, and each score, of one model."""
    name = f"{preset.replace(':', '-')}-{minutes:g}-{seed}"
    base, _, sigma = preset.partition(":")
    settings = (*DATA, *((*SAME, f"method.sigma={sigma}") if sigma else ()))
    words = ["train", "scenes-1", "--preset", base, "--minutes", str(minutes), "--seed", str(seed)]
    words += ["--out", str(out / "runs"), "--name", name, *settings]

    def make() -> dict[str, Any]:
        told = common.limner(*words)
        found = common.limner("evaluate", told["run"], "--metrics", "disentanglement")
        return {"images": told["images"], **{score: found["metrics"][score]["value"] for score in SCORES}}

    return common.once(out / f"{name}.json", make)


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
            mean, half = common.interval([mine[score] - theirs[score] for mine, theirs in pairs])
            told.setdefault(preset, {})[score] = {"mean": mean, "half": half}
            cells.append(f"{mean:+.3f} ± {half:.3f}")
        lines.append(f"| `{preset}` − `{presets[0]}` | | | " + " | ".join(cells) + " |")
    print(json.dumps(told) if arguments.json else "\n".join(lines))


if __name__ == "__main__":
    main()
