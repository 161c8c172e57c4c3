"""The re-created networks with dynamic activations: shapes, exports, and independence of the images of a batch."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from dyrelu_tools.check_networks import export, randomise
from dyrelu_tools.compare_engines import dynamic, published
from dyrelu_tools.models import dymn, meta_acon, micronet, mobile_former


def test_every_dynamic_network_is_published_and_gives_finite_numbers() -> None:
    networks = dynamic.networks()
    assert set(networks) <= set(published.networks())
    for name in ("micronet-m0", "mobile-former-26m", "shufflenet-v2-b"):
        y = networks[name].make()(torch.randn(2, 3, 64, 64))
        assert y.shape == (2, 1000) and y.isfinite().all() and y.std() > 1e-3, name


@pytest.mark.parametrize("groups", [1, 8])
def test_a_dynamic_convolution_treats_images_apart(groups: int) -> None:
    torch.manual_seed(0)
    layer = dymn.DynamicConv(8, 8, 3, 2, groups, context=5).eval()
    x, context = torch.randn(3, 8, 9, 7), torch.randn(3, 5)
    y = layer(x, context)
    assert y.shape == (3, 8, 5, 4) and not torch.allclose(y[0], layer(x[:1], context[1:2])[0])
    for i in range(3):
        torch.testing.assert_close(y[i : i + 1], layer(x[i : i + 1], context[i : i + 1]))


def test_dynamic_shift_max_is_what_its_formula_says() -> None:
    torch.manual_seed(0)
    layer = micronet.ShiftMax(6, groups=2)
    # Group by group, each beginning with its second channel.
    assert layer.order.tolist() == [4, 5, 3, 1, 2, 0]
    torch.nn.init.zeros_(layer.fc[2].weight)
    torch.nn.init.zeros_(layer.fc[2].bias)
    x = torch.randn(2, 6, 3, 3)
    torch.testing.assert_close(layer(x), x)


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (lambda: dymn.DyMN10(5), (1, 32, 40)),
        (lambda: torch.nn.Sequential(*micronet.block(8, micronet.M0[4])), (8, 12, 12)),
        (lambda: meta_acon.MetaAcon(24), (24, 5, 6)),
        (lambda: mobile_former.MobileFormer([(24, 16, 2)], 5), (3, 32, 32)),
    ],
)
def test_exports_give_the_outputs_of_pytorch(block, shape: tuple[int, int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, x = randomise(block()), torch.randn(1, *shape)
    path = tmp_path / "network.onnx"
    export(network, x, path, dynamo=False, free_batch=False)
    y = onnxruntime.InferenceSession(path).run(None, {"input": x.numpy()})[0]
    np.testing.assert_allclose(y, network(x).detach().numpy(), atol=1e-4)
