"""Shapes, gradients, exports and one training step, on random data."""

import numpy as np
import onnxruntime
import pytest
import torch

from dyrelu_tools import data
from dyrelu_tools.activations import DyReLU, MaxAffine
from dyrelu_tools.check_networks import export, randomise
from dyrelu_tools.models import build


@pytest.mark.parametrize("form", ["A", "B", "C"])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("squash", ["sigmoid", "hard_sigmoid"])
def test_training_and_inference_agree(form: str, k: int, squash: str) -> None:
    act = DyReLU(10, form, k, reduction=2, squash=squash)
    torch.nn.init.normal_(act.fc2.weight)
    x = torch.randn(3, 10, 5, 7)
    torch.testing.assert_close(act.train()(x), act.eval()(x))


def test_the_initial_activation_is_nearly_a_relu() -> None:
    act = DyReLU(16).eval()
    x = torch.randn(2, 16, 4, 4)
    assert (act(x) - x.relu()).abs().max() < 0.3


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 5])
def test_the_backward_pass_is_the_derivative(k: int, channels: int) -> None:
    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.double, requires_grad=True)

    coefficients = random(2, k, channels, 1, 1), random(2, k, channels, 1, 1)
    assert torch.autograd.gradcheck(MaxAffine.apply, (random(2, 5, 3, 4), *coefficients))


@pytest.mark.parametrize("dynamo", [False, True])
def test_exports_give_the_outputs_of_pytorch(dynamo: bool, tmp_path) -> None:
    network = build("mobilenetv2", "dyrelu-c", 5, width=0.25).eval()
    x = torch.randn(1, 3, 32, 32)
    path = tmp_path / "network.onnx"
    torch.onnx.export(network, (x,), path, dynamo=dynamo, input_names=["x"], output_names=["y"])
    y = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(y, network(x).detach().numpy(), atol=1e-5)


def test_one_training_step_gives_every_parameter_a_gradient() -> None:
    network = build("mobilenetv2", "dyrelu-b", 5, width=0.25).train()
    pixels = torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8)
    x = data.augment(pixels, 32, torch.Generator().manual_seed(0), area=(0.35, 1.0))
    assert x.shape == (4, 3, 32, 32)
    loss = torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("name", ["se", "aprelu", "maxout,k=3", "dyrelu-b"])
@pytest.mark.parametrize("dynamo", [False, True])
def test_exports_of_every_activation_give_the_outputs_of_pytorch(name: str, dynamo: bool, tmp_path) -> None:
    network = randomise(build("mobilenetv2-mini", name, 5))
    x = torch.randn(2, 3, 32, 32)
    path = tmp_path / "network.onnx"
    export(network, x, path, dynamo)
    y = onnxruntime.InferenceSession(path).run(None, {"input": x.numpy()})[0]
    np.testing.assert_allclose(y, network(x).detach().numpy(), atol=1e-5)
