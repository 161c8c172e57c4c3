"""The re-created networks with dynamic activations: shapes, exports, and independence of the images of a batch."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from dyrelu_tools.check_networks import export, randomise
from dyrelu_tools.compare_engines import dynamic, published
from dyrelu_tools.export_micronet import load_in_order
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


def test_published_weights_of_micronet_fit_by_their_order() -> None:
    torch.manual_seed(0)
    given, network = randomise(micronet.micronet_m0()).eval(), micronet.micronet_m0().eval()
    # The widths of the hyperfunctions in the published weights.
    hidden = [m.fc[0].out_features for m in given.modules() if isinstance(m, micronet.ShiftMax)]
    assert hidden == [4, 4, 4, 8, 4, 8, 8, 8, 16, 16, 16, 16, 16, 12, 24]
    published = {f"module.{i}.{name.rsplit('.', 1)[1]}": t for i, (name, t) in enumerate(given.state_dict().items())}
    x = torch.randn(1, 3, 64, 64)
    assert not torch.allclose(network(x), given(x))
    load_in_order(network, published)
    torch.testing.assert_close(network(x), given(x))
    first = next(iter(published))
    with pytest.raises(ValueError, match=r"module.0.weight has shape \[2, 3, 1, 3\], expected \[2, 3, 3, 1\]"):
        load_in_order(network, published | {first: published[first].transpose(2, 3)})
    with pytest.raises(ValueError, match="expected"):
        load_in_order(network, dict(list(published.items())[:-2]))


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (lambda: dymn.DyMN10(5), (1, 32, 40)),
        (lambda: micronet.block(8, micronet.M0[4]), (8, 12, 12)),
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
