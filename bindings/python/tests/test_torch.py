"""Networks of PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import dyrelu


def module():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_module_runs(dynamo, capfd):
    if dynamo:
        pytest.importorskip("onnxscript")
    net, images = module().eval(), torch.randn(3, 3, 5, 7)
    model = dyrelu.from_torch(net, images[:1], dynamo=dynamo)
    assert capfd.readouterr().out == ""
    expected = net(images).detach().numpy()
    np.testing.assert_allclose(model.run(images)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_module_in_training_mode_is_refused():
    with pytest.raises(dyrelu.InputError, match="eval"):
        dyrelu.from_torch(module(), torch.randn(1, 3, 5, 7))
