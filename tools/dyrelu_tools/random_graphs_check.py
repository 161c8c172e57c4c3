"""Compares random ONNX networks in `dyrelu run` and in ONNX Runtime.

    python -m dyrelu_tools.random_graphs_check --dyrelu ../target/release/dyrelu --graphs 2000 --seed 0

A network has one to four nodes with random attributes, shapes and constants. If ONNX Runtime runs a network, dyrelu has
to give the same types and shapes, equal integers and booleans, and floating-point numbers that differ by at most 1e-4 of
the largest magnitude in the output. A network that differs is stored with its inputs in the folder `--keep`.

The following are omitted, because ONNX Runtime is wrong or the standard leaves the result open:

- Resize with `nearest`: ONNX Runtime rounds the ratio of sizes to single precision and takes the wrong pixel for some
  pairs of sizes, such as 6 to 2.
- Resize with `half_pixel_symmetric` or with `antialias`, and cubic together with `exclude_outside`: ONNX Runtime has
  kernels for some ranks only.
- AveragePool with `ceil_mode` and `count_include_pad`: ONNX Runtime counts positions beyond the padding. The standard
  left this open before opset 19.
- Resize with `align_corners` and scales that do not give an integer size: ONNX Runtime rounds the size first, the
  reference of the standard does not.
- InstanceNormalization of an empty map, which crashes ONNX Runtime.
- Windows larger than the padded image, for which ONNX Runtime gives an output.
- MaxPool and AveragePool with `auto_pad` and dilations or `ceil_mode`: ONNX Runtime computes other sizes than the formula
  of the standard. With `auto_pad` and strides larger than the window it crops or refuses.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64,
         np.dtype(np.bool_): TensorProto.BOOL, np.dtype(np.int32): TensorProto.INT32}
# The largest accepted error, relative to the largest magnitude in an output.
TOLERANCE = 1e-4

SMOOTH = ["Relu", "LeakyRelu", "Elu", "Celu", "Selu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish", "Mish",
          "Softplus", "Softsign", "Tanh", "Exp", "Neg", "Abs", "Erf", "Sin", "Cos"]
# At a discontinuity, a difference in the last bit of the input is a large difference of the output. Therefore these are
# applied to inputs of the network only.
DISCONTINUOUS = ["Sign", "Floor", "Ceil", "Round", "ThresholdedRelu"]
REDUCTIONS = ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
              "ReduceSumSquare", "ReduceLogSumExp"]


class Network:
    """A network under construction, with the array of every value."""

    def __init__(self, rng):
        self.rng = rng
        self.nodes, self.constants, self.inputs = [], [], {}
        self.values = {}
        self.count = 0

    def name(self, kind):
        self.count += 1
        return f"{kind}{self.count}"

    def input(self, array):
        name = self.name("x")
        self.inputs[name] = self.values[name] = array
        return name

    def constant(self, array):
        name = self.name("c")
        array = np.asarray(array)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def numbers(self, shape, low=-1.0, high=1.0):
        generator = np.random.default_rng(self.rng.randrange(1 << 30))
        return generator.uniform(low, high, shape).astype(np.float32)

    def weights(self, *shape):
        fan_in = max(1, int(np.prod(shape[1:])))
        return self.constant(self.numbers(shape, -1, 1) * np.float32((3 / fan_in) ** 0.5))

    def model(self, outputs):
        ty = lambda name, array: helper.make_tensor_value_info(name, TYPES[array.dtype], array.shape)
        graph = helper.make_graph(
            self.nodes, "random", [ty(*item) for item in self.inputs.items()],
            [ty(name, self.values[name]) for name in outputs], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 10
        return model

    def apply(self, op, inputs, outputs=1, **attributes):
        """Adds a node if ONNX Runtime can run it."""
        names = [self.name("v") for _ in range(outputs)]
        node = helper.make_node(op, inputs, names, name=f"{op}{self.count}", **attributes)
        graph = helper.make_graph(
            [node], "single",
            [helper.make_tensor_value_info(n, TYPES[self.values[n].dtype], self.values[n].shape)
             for n in dict.fromkeys(inputs) if n in self.values],
            [onnx.ValueInfoProto(name=n) for n in names],
            [c for c in self.constants if c.name in inputs])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 10
        arrays = run_onnxruntime(model, {n: self.values[n] for n in inputs if n in self.values})
        if arrays is None or any(a.dtype not in TYPES or a.size > 1 << 16 for a in arrays):
            return None
        if any(not np.all(np.isfinite(a)) or np.max(np.abs(a), initial=0) > 1e4 for a in arrays
               if a.dtype == np.float32):
            return None
        self.nodes.append(node)
        self.values.update(zip(names, arrays))
        return names[0]


def run_onnxruntime(model, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # The operators are compared, not the fused operators that optimisations produce.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, inputs)
    except Exception:  # ONNX Runtime refuses a network with many types of exceptions.
        return None


def pick(net, dtype=np.float32, least=0, most=9):
    names = [n for n, a in net.values.items() if a.dtype == dtype and least <= a.ndim <= most]
    return net.rng.choice(names) if names else None


def window(net, axes, transposed=False):
    r = net.rng
    kernel = [r.choice([1, 2, 3, 3, 5]) for _ in range(axes)]
    attributes = {}
    if r.random() < 0.5:
        attributes["strides"] = [r.choice([1, 2, 3]) for _ in range(axes)]
    if r.random() < 0.25:
        attributes["dilations"] = [r.choice([1, 2]) for _ in range(axes)]
    choice = r.random()
    if choice < 0.5:
        attributes["pads"] = [r.randint(0, k - 1) for k in kernel + kernel]
    elif choice < 0.7 and not transposed:
        attributes["auto_pad"] = r.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])
    return kernel, attributes


def convolution(net):
    x = pick(net, least=3, most=5)
    if x is None or net.values[x].shape[1] == 0:
        return None
    shape, r = net.values[x].shape, net.rng
    channels, axes = shape[1], len(shape) - 2
    groups = r.choice([1, 1, channels] + [g for g in range(1, channels + 1) if channels % g == 0])
    transposed = r.random() < 0.3
    kernel, attributes = window(net, axes, transposed)
    per_group = r.choice([1, 2, 3, 8])
    if transposed:
        weight = net.weights(channels, per_group, *kernel)
        if r.random() < 0.3 and "strides" in attributes:
            attributes["output_padding"] = [r.randrange(s) for s in attributes["strides"]]
    else:
        weight = net.weights(per_group * groups, channels // groups, *kernel)
    inputs = [x, weight]
    if r.random() < 0.5:
        inputs.append(net.constant(net.numbers(per_group * groups)))
    return net.apply("ConvTranspose" if transposed else "Conv", inputs, group=groups, **attributes)


def pool(net):
    x, r = pick(net, least=3, most=5), net.rng
    if x is None:
        return None
    if r.random() < 0.2:
        return net.apply(r.choice(["GlobalAveragePool", "GlobalMaxPool"]), [x])
    kernel, attributes = window(net, net.values[x].ndim - 2)
    fits = lambda k, size, d: max(1, min(k, (size - 1) // d + 1))
    dilations = attributes.get("dilations", [1] * len(kernel))
    kernel = [fits(*axis) for axis in zip(kernel, net.values[x].shape[2:], dilations)]
    if "pads" in attributes:
        attributes["pads"] = [min(p, k - 1) for p, k in zip(attributes["pads"], kernel + kernel)]
    plain = "auto_pad" not in attributes
    if not plain:
        attributes.pop("dilations", None)
        attributes["strides"] = [min(s, k) for s, k in zip(attributes.get("strides", kernel), kernel)]
    if plain and r.random() < 0.4:
        attributes["ceil_mode"] = 1
    if r.random() < 0.5:
        return net.apply("MaxPool", [x], kernel_shape=kernel, **attributes)
    if not attributes.get("ceil_mode"):
        attributes["count_include_pad"] = r.randint(0, 1)
    return net.apply("AveragePool", [x], kernel_shape=kernel, **attributes)


def product(net):
    r = net.rng
    x = pick(net, least=2, most=4)
    if x is None:
        return None
    shape = net.values[x].shape
    width = r.choice([1, 3, 8, 17])
    if len(shape) > 2 or r.random() < 0.4:
        return net.apply("MatMul", [x, net.weights(shape[-1], width)])
    trans_a, trans_b = r.randint(0, 1), r.randint(0, 1)
    depth = shape[0] if trans_a else shape[1]
    inputs = [x, net.weights(*((width, depth) if trans_b else (depth, width)))]
    if r.random() < 0.7:
        inputs.append(net.constant(net.numbers(r.choice([(width,), (1, width), (), (1,)]))))
    return net.apply("Gemm", inputs, transA=trans_a, transB=trans_b,
                     alpha=r.choice([1.0, 0.5]), beta=r.choice([1.0, 2.0]))


def normalisation(net):
    r = net.rng
    x = pick(net, least=3, most=5)
    if x is None:
        return None
    shape = net.values[x].shape
    if 0 in shape:
        return None
    channels = shape[1]
    per_channel = lambda low=-1.0: net.constant(net.numbers(channels, low, 1.5))
    match r.randrange(4):
        case 0:
            return net.apply("BatchNormalization", [x, *(per_channel() for _ in range(3)), per_channel(0.2)])
        case 1:
            return net.apply("InstanceNormalization", [x, per_channel(), per_channel()], epsilon=1e-3)
        case 2:
            axis = r.randrange(1, len(shape))
            scale, bias = (net.constant(net.numbers(shape[axis:])) for _ in range(2))
            return net.apply("LayerNormalization", [x, scale, bias], axis=axis, epsilon=1e-3)
        case _:
            groups = r.choice([g for g in range(1, channels + 1) if channels % g == 0] or [1])
            return net.apply("GroupNormalization", [x, per_channel(), per_channel()],
                             num_groups=groups, epsilon=1e-3)


def elementwise(net):
    r = net.rng
    x = pick(net)
    shape = net.values[x].shape
    if r.random() < 0.4:
        return net.apply(r.choice(SMOOTH), [x])
    if r.random() < 0.3:
        return net.apply(r.choice(DISCONTINUOUS), [r.choice(list(net.inputs))])
    other = tuple(1 if r.random() < 0.4 else s for s in shape[r.randint(0, len(shape)):])
    match r.randrange(6):
        case 0:
            y = net.constant(net.numbers(other, -2, 2))
            return net.apply(r.choice(["Add", "Sub", "Mul"]), r.sample([x, y], 2))
        case 1:
            return net.apply(r.choice(["Div", "Pow"]), [net.apply("Abs", [x]) or x,
                                                       net.constant(net.numbers(other, 0.5, 3))])
        case 2:
            y = net.constant(net.numbers(other))
            return net.apply(r.choice(["Max", "Min", "Sum", "Mean"]), [x, y])
        case 3:
            return net.apply("PRelu", [x, net.constant(net.numbers(other, -0.5, 1.5))])
        case 4:
            bound = lambda value: net.constant(np.float32(value))
            return net.apply("Clip", [x, bound(r.choice([-1, 0])), bound(r.choice([0.5, 6]))])
        case _:
            first = r.choice(list(net.inputs))
            y = net.constant(net.numbers(()))
            mask = net.apply(r.choice(["Less", "Greater", "LessOrEqual"]), [first, y])
            return mask and net.apply("Where", [mask, first, y])


def along_axes(net):
    r = net.rng
    x = pick(net, least=1)
    if x is None:
        return None
    rank = net.values[x].ndim
    axis = r.randrange(-rank, rank)
    match r.randrange(4):
        case 0:
            return net.apply(r.choice(["Softmax", "LogSoftmax"]), [x], axis=axis)
        case 1:
            x = r.choice(list(net.inputs))
            rank = max(1, net.values[x].ndim)
            return net.apply("ArgMax", [x], axis=r.randrange(-rank, rank), keepdims=r.randint(0, 1),
                             select_last_index=r.randint(0, 1))
        case _:
            axes = r.sample(range(rank), r.randint(1, rank))
            return net.apply(r.choice(REDUCTIONS), [x, net.constant(np.array(axes, np.int64))],
                             keepdims=r.randint(0, 1))


def movement(net):
    r = net.rng
    x = pick(net, least=1, most=5)
    if x is None:
        return None
    shape = net.values[x].shape
    rank = len(shape)
    ints = lambda values: net.constant(np.array(values, np.int64))
    axis = r.randrange(-rank, rank)
    match r.randrange(12):
        case 0:
            at = r.randrange(rank)
            return net.apply("Reshape", [x, ints([*shape[:at], -1])])
        case 1:
            return net.apply("Transpose", [x], perm=r.sample(range(rank), rank))
        case 2:
            return net.apply("Concat", [x, x, net.constant(net.numbers(shape))], axis=axis)
        case 3:
            return net.apply("Split", [x], outputs=2, axis=axis, num_outputs=2)
        case 4:
            size, step = shape[axis], r.choice([1, 2, -1, -2])
            start, end = r.randint(-size - 1, size + 1), r.randint(-size - 1, size + 1)
            return net.apply("Slice", [x, ints([start]), ints([end]), ints([axis]), ints([step])])
        case 5:
            size = max(1, shape[axis])
            indices = [r.randrange(-size, size) for _ in range(3)]
            return net.apply("Gather", [x, ints(r.choice([indices, [indices], indices[0]]))], axis=axis)
        case 6:
            return net.apply("Flatten", [x], axis=r.randint(-rank, rank))
        case 7:
            return net.apply("Unsqueeze", [x, ints([r.randint(-rank - 1, rank)])])
        case 8:
            goal = [r.choice([1, s]) if s != 1 else r.choice([1, 3]) for s in shape]
            return net.apply("Expand", [x, ints(goal)])
        case 9:
            return net.apply("Tile", [x, ints([r.choice([1, 2]) for _ in shape])])
        case 10:
            pads = [r.choice([0, 0, 1, 2, -1]) for _ in range(2 * rank)]
            mode = r.choice(["constant", "reflect", "edge", "wrap"])
            if mode != "constant":
                pads = [max(0, p) if s > 2 else 0 for p, s in zip(pads, shape + shape)]
            return net.apply("Pad", [x, ints(pads)], mode=mode)
        case _:
            return net.apply("DepthToSpace", [x], blocksize=2, mode=r.choice(["DCR", "CRD"]))


def resize(net):
    r = net.rng
    x = pick(net, least=4, most=4)
    if x is None:
        return None
    shape = net.values[x].shape
    attributes = {"mode": r.choice(["linear", "cubic"]), "coordinate_transformation_mode": r.choice(
        ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])}
    if r.random() < 0.5:
        sizes = net.constant(np.array([*shape[:2], r.randint(1, 9), r.randint(1, 9)], np.int64))
        return net.apply("Resize", [x, "", "", sizes], **attributes)
    scales = [1, 1, r.choice([0.5, 2, 3, 1.5]), r.choice([0.5, 2, 3, 1.5])]
    whole = all((scale * size).is_integer() for scale, size in zip(map(float, scales), shape))
    if attributes["coordinate_transformation_mode"] == "align_corners" and not whole:
        return None
    return net.apply("Resize", [x, "", net.constant(np.array(scales, np.float32))], **attributes)


FAMILIES = [convolution, convolution, pool, product, normalisation, elementwise, elementwise, along_axes,
            movement, movement, resize]


def network(seed):
    rng = random.Random(seed)
    net = Network(rng)
    for _ in range(rng.choice([1, 1, 2])):
        size = lambda: rng.choice([1, 2, 3, 4, 5, 7, 9])
        images, channels = rng.choice([1, 2, 3]), rng.choice([1, 2, 3, 4, 8, 9, 17])
        rank = rng.choice([2, 3, 4, 4, 4, 4, 5])
        net.input(net.numbers((images, channels, *(size() for _ in range(rank - 2))), -3, 3))
    count = rng.randint(1, 4)
    for _ in range(20):
        if len(net.nodes) < count:
            rng.choice(FAMILIES)(net)
    return net


def difference(output, expected):
    """Describes the difference between an output and the expected one. None if there is none."""
    if output.dtype != expected.dtype or output.shape != expected.shape:
        return f"{output.dtype} {output.shape}, expected {expected.dtype} {expected.shape}"
    if output.size == 0:
        return None
    if output.dtype != np.float32:
        return None if np.array_equal(output, expected) else "other integers"
    error = np.max(np.abs(output.astype(np.float64) - expected))
    scale = max(np.max(np.abs(expected)), 1e-6)
    return None if error <= TOLERANCE * scale else f"a relative error of {error / scale:.2g}"


def check(net, dyrelu, folder):
    """Runs a network in dyrelu, and describes the difference or error. None if there is none.

    The network and its inputs remain in the folder.
    """
    outputs = [o for node in net.nodes for o in node.output]
    model = net.model(outputs)
    expected = run_onnxruntime(model, net.inputs)
    if expected is None:
        return None
    onnx.save(model, folder / "net.onnx")
    command = [dyrelu, "run", folder / "net.onnx", "--threads", "1"]
    for name, array in net.inputs.items():
        np.save(folder / f"{name}.npy", array)
        command += ["--input", f"{name}={folder / name}.npy"]
    for name in outputs:
        command += ["--output", f"{name}={folder / name}.npy"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode != 0:
        return result.stderr.strip()
    for name, array in zip(outputs, expected):
        if wrong := difference(np.load(folder / f"{name}.npy"), array):
            return f"{name}: {wrong}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dyrelu", required=True, type=Path, help="the dyrelu program")
    parser.add_argument("--graphs", type=int, default=1000, help="number of networks")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first network")
    parser.add_argument("--keep", type=Path, help="folder for networks that differ")
    arguments = parser.parse_args()
    different = compared = 0
    with tempfile.TemporaryDirectory() as name:
        for seed in range(arguments.seed, arguments.seed + arguments.graphs):
            folder = Path(name) / str(seed)
            folder.mkdir()
            net = network(seed)
            compared += bool(net.nodes)
            if net.nodes and (wrong := check(net, arguments.dyrelu, folder)):
                different += 1
                print(f"network {seed}: {wrong}")
                for node in net.nodes:
                    print("   ", " ".join(str(node).split()))
                if arguments.keep:
                    shutil.copytree(folder, arguments.keep / str(seed), dirs_exist_ok=True)
            shutil.rmtree(folder)
    print(f"{compared} networks compared, {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
