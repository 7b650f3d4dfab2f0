"""The GAN presets of `method_speed.py`: python benchmarks/gan_speed.py --rounds 5 --seconds 1"""

from __future__ import annotations

from method_speed import GANS, main

if __name__ == "__main__":
    main(GANS)
