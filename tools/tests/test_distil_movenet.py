"""MoveNet's distillation: the initial student, mirrored maps, losses, and coefficients that are fixed."""

import torch

from dyrelu_tools.activations import DyReLU
from dyrelu_tools.distil_movenet import losses, student
from dyrelu_tools.export_movenet import damped
from dyrelu_tools.models.movenet import MoveNet
from dyrelu_tools.poses import KEYPOINTS, SPLIT, mirror, outputs


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return MoveNet().state_dict()


@torch.no_grad()
def test_the_student_starts_as_movenet() -> None:
    teacher = MoveNet().eval()
    teacher.load_state_dict(weights())
    x = torch.rand(2, 3, 192, 192) * 2 - 1
    expected = outputs(teacher, x)
    found = outputs(student(weights(), 16), x)
    assert found.shape == (2, sum(SPLIT), 48, 48)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_mirroring_twice_changes_nothing() -> None:
    maps = torch.randn(2, sum(SPLIT), 48, 48)
    torch.testing.assert_close(mirror(mirror(maps)), maps)


def test_equal_maps_have_no_loss() -> None:
    maps = torch.randn(2, sum(SPLIT), 48, 48)
    assert all(abs(part.item()) < 1e-5 for part in losses(maps, maps).values())
    other = maps.clone()
    other[:, -2 * KEYPOINTS :] += 1
    parts = losses(other, maps)
    assert parts["offset"] > 0.1 and parts["regress"].abs() < 1e-5


@torch.no_grad()
def test_fixed_coefficients_do_not_depend_on_the_image() -> None:
    network = student(weights(), 16)
    for module in network.modules():
        if isinstance(module, DyReLU):
            torch.nn.init.normal_(module.fc2.weight, std=0.1)
    x = torch.rand(2, 3, 192, 192) * 2 - 1
    frozen = damped(network, x, 0.0)
    variation = {name: [] for name in ("moving", "constant")}
    for act, constant in zip(*([m for m in n.modules() if isinstance(m, DyReLU)] for n in (network, frozen))):
        features = torch.randn(2, act.channels, 1, 1).expand(-1, -1, 4, 4)
        variation["moving"].append(act.coefficients(features).std(0).max().item())
        variation["constant"].append(constant.coefficients(features).std(0).max().item())
    assert max(variation["moving"]) > 1e-3 and max(variation["constant"]) < 1e-6
