"""What made a run, for whoever reads it later."""

from __future__ import annotations

import platform
import shlex
from typing import Any

import torch

from limner.core import parallel, precision
from limner.core.address import public_word
from limner.core.environment import version
from limner.core.invocation import COMMAND_WORDS, describe_request, python_call
from limner.data.dataset import Dataset
from limner.recipes.recipe import Recipe
from limner.training.train import TrainRequest


def provenance(recipe: Recipe, dataset: Dataset, request: TrainRequest) -> dict[str, Any]:
    """The command or the Python call, the request, versions, hardware, precision, data and seed of a run."""
    import numpy
    import PIL
    import pydantic
    import safetensors

    words = COMMAND_WORDS.get()
    is_command = words is not None
    return {
        "command": shlex.join(["limner", *map(public_word, words or ())]) if is_command else python_call("train", request),
        "call": {"from": "command line" if is_command else "Python", "verb": "train", "request": describe_request(request)},
        "versions": {
            "limner": version("limner"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
            "pydantic": pydantic.VERSION,
            "safetensors": safetensors.__version__,
        },
        "hardware": {
            "processor": precision.processor(),
            "threads": torch.get_num_threads(),
            "processes": parallel.process_count(),
            "system": platform.platform(terse=True),
        },
        "precision": recipe.precision,
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint, "shape": list(dataset.shape)},
        "seed": recipe.seed,
    }
