"""ONNX's backend interface: `prepare`, `run_model` and `run_node`. It needs the package `onnx`.

>>> import dyrelu.onnx_backend as backend
>>> outputs = backend.prepare(onnx.load("net.onnx")).run([images])
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from ._errors import InputError, UnsupportedError
from ._model import Model

__all__ = [
    "DyreluBackend",
    "DyreluRep",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]


class DyreluRep(BackendRep):
    """A network that is ready to run."""

    def __init__(self, model: Model) -> None:
        self._model = model
        names = [port.name for port in model.outputs]
        self._outputs = namedtupledict("Outputs", names)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Returns the outputs, which are found by position and by name.

        Args:
            inputs: a list or a tuple of arrays in the order of the network's inputs, a dict of arrays by
                name, or one array.
        """
        if isinstance(inputs, (list, tuple)):
            names = [port.name for port in self._model.inputs]
            if len(inputs) != len(names):
                raise InputError(f"the network takes {len(names)} inputs, found {len(inputs)}")
            inputs = dict(zip(names, inputs))
        return self._outputs(*self._model.run(inputs))


class DyreluBackend(Backend):
    """Runs networks of ONNX on the CPU."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Returns whether `prepare` takes the network."""
        try:
            cls.prepare(model, device)
        except UnsupportedError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> DyreluRep:
        """Compiles a network.

        Raises:
            UnsupportedError: the device is not a CPU, or the network asks for something that this version
                does not have.
            ModelError: the network contradicts itself.
        """
        if not cls.supports_device(device):
            raise UnsupportedError(f"networks run on the device CPU, not on {device}")
        return DyreluRep(Model.from_bytes(model.SerializeToString()))

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Runs one operator on a list of arrays."""
        given = {}
        names = [name for name in node.input if name]
        for name, value in zip(names, inputs):
            given.setdefault(name, np.asarray(value))
        ports = [_port(name, value.dtype, value.shape) for name, value in given.items()]
        if outputs_info is None:
            outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        else:
            names = [name for name in node.output if name]
            outputs = [_port(name, *info) for name, info in zip(names, outputs_info)]
        graph = helper.make_graph([node], node.op_type, ports, outputs)
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])
        return cls.prepare(model, device).run(given)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Returns whether networks run on `device`, such as "CPU" or "CPU:0"."""
        return device.split(":")[0] == "CPU"


def _port(name: str, dtype: Any, shape: Any) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, shape)


is_compatible = DyreluBackend.is_compatible
prepare = DyreluBackend.prepare
run_model = DyreluBackend.run_model
run_node = DyreluBackend.run_node
supports_device = DyreluBackend.supports_device
