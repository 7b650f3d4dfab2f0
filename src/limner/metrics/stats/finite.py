"""Features and logits as the scores take them: on the CPU, in one number format, and numbers indeed."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of

_ROWS = 4096  # looked at together


def on_cpu(x: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """`x` [N, d] without gradient, on the CPU, in `dtype`. Errors: `InputError` where a value is not finite."""
    x = x.detach().cpu()
    for rows in batches_of(len(x), _ROWS):
        if not bool(torch.isfinite(x[rows]).all()):
            raise InputError("a feature is not a finite number: the images to be judged, or the judge, are damaged")
    return x.to(dtype)
