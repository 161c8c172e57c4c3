"""The spread of coefficients, in networks before and after they have learned."""

from pathlib import Path

import pytest
import torch

from dyrelu_tools.activations import DyReLU
from dyrelu_tools.coefficients import draw, spreads, table
from dyrelu_tools.models import build


def test_initial_coefficients_have_no_spread() -> None:
    network = build("mobilenetv2-mini", "dyrelu-b", 5, last_act="dyrelu-b,k=1").eval()
    for module in network.modules():
        if isinstance(module, DyReLU):
            torch.nn.init.zeros_(module.fc2.weight)
    rows = spreads(network, torch.randn(3, 3, 32, 32))
    assert len(rows) == sum(isinstance(module, DyReLU) for module in network.modules())
    assert [max(r.deviation.values()) for r in rows] == [0.0] * len(rows)
    assert [max(r.distance.values()) for r in rows] == [0.0] * len(rows)
    assert "| – |" in table(rows), "layers with one piece have no second slope"


def test_deviation_and_distance_are_computed_from_the_coefficients(tmp_path: Path) -> None:
    act = DyReLU(4, "B", k=2, reduction=1).eval()
    torch.nn.init.normal_(act.fc2.weight)
    network, x = torch.nn.Sequential(act).eval(), torch.randn(5, 4, 3, 3)
    (row,) = spreads(network, x, batch=2)
    slopes = act.coefficients(x)[:, 0]
    assert row.deviation["a1"] == pytest.approx(slopes.std(0).mean().item(), rel=1e-5)
    assert row.distance["a1"] == pytest.approx((slopes - 1).abs().mean().item(), rel=1e-5)
    draw([row], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
