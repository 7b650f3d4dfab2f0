"""benchmarks/flow_speed.py: limner's network of the size of a peer's, and the row of a table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from contract.helpers import method_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from flow_speed import fit, row


@pytest.mark.parametrize(("parameters", "transformer"), [(1_075_361, False), (3_047_489, False), (4_610_128, True)])
def test_a_network_has_a_peers_number_of_parameters(parameters: int, transformer: bool) -> None:
    """The settings, as a person would give them, make a network that is at most 2 % larger or smaller."""
    settings = fit(parameters, (1, 28, 28), transformer)
    network = method_of("flow", (28, 28, 1), "method.labels=false", *settings).get_submodule("network")
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(parameters, rel=0.02)
    assert type(network).__name__ == ("Dit" if transformer else "UNet")


def test_a_size_that_no_network_has_ends_the_program() -> None:
    with pytest.raises(SystemExit, match=r"no network of limner's has 1,000 parameters; .*'width': 16\} is .*% away"):
        fit(1000, (1, 28, 28), False)


def test_a_row_has_medians_of_ratios() -> None:
    """And not ratios of medians, which are 2 here."""
    about = {name: {"parameters": 1_060_000, "multiply_adds": 71_000_000} for name in ("limner", "plain", "peer")}
    speeds = {"limner": [10.0, 20.0, 90.0], "plain": [10.0, 10.0, 10.0], "peer": [2.0, 20.0, 10.0]}
    result = {"peer": "peer", "shape": (1, 28, 28), "turn": "train", "about": about, "images_per_second": speeds}
    assert row(result) == (
        "| 28×28×1 | training | `peer` | 1.06 / 71 | 1.06 / 71 | 20.0 | 10.0 | 10.0 |  | 5.00 (1.00 – 9.00) |  | "
        "2.00 (1.00 – 9.00) | 1.00 (0.50 – 5.00) |"
    )
