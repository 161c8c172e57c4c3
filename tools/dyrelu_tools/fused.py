"""max_k(a_k * x + b_k) clipped at a limit, for two pieces on a CPU, in one pass over memory forwards and one backwards.

Autograd makes ten to twenty passes over every feature map, which take most of the time of a training step on a CPU. The
loops are in C (max_affine.c). The first use compiles them with the system's `cc`.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("max_affine.c")


def supports(x: Tensor) -> bool:
    """Whether `FusedMaxAffine` computes feature maps like x here: float32 on a CPU, and the system has a `cc`."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and shutil.which("cc") is not None


@functools.cache
def library() -> ctypes.CDLL:
    """Compiles the loops for this processor and loads them."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "max_affine.so")
        flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, str(SOURCE), "-o", str(target)], check=True)
        return ctypes.CDLL(str(target))


def pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(t.data_ptr()) for t in tensors]


class FusedMaxAffine(torch.autograd.Function):
    """min(max(a_0 * x + b_0, a_1 * x + b_1), limit) for float32 x of shape [N, C, H, W] and coefficients [N, 4, C] in
    the order a_0, a_1, b_0, b_1."""

    @staticmethod
    def forward(ctx, x: Tensor, coefficients: Tensor, limit: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        coefficients = coefficients.contiguous()
        y = torch.empty_like(x)
        n, c, h, w = x.shape
        library().forward(*pointers(x, coefficients, y), n, h * w, c, ctypes.c_float(limit))
        ctx.save_for_backward(x, coefficients)
        ctx.limit = limit
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, coefficients = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x, grad_coefficients = torch.empty_like(x), torch.zeros_like(coefficients)
        n, c, h, w = x.shape
        tensors = pointers(grad, x, coefficients, grad_x, grad_coefficients)
        library().backward(*tensors, n, h * w, c, ctypes.c_float(ctx.limit))
        return grad_x, grad_coefficients, None
