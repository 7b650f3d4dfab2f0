"""A checksum of a set of tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def digest(tensors: Mapping[str, Tensor], about: Any) -> str:
    """SHA-256 of every tensor's name, dtype, shape and bytes, in the order of names, and of `about` as sorted JSON.

    Gives 64 hexadecimal digits, the same on every machine. Errors: `TypeError` where `about` cannot be written as JSON.

    >>> import torch
    >>> digest({"weight": torch.zeros(2)}, {"layers": 1})[:12]
    'd2bd20ae0ead'
    """
    total = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
