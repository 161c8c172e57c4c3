"""Writes the files with which the Rust tests check recognition: `python -m dyrelu_tools.goldens --help`.

For every style of dialects.py, writes ONNX files of both PyTorch exporters. Some of them are rewritten by onnxslim,
onnxsim or ONNX Runtime's offline optimiser. cases.json has the activations that should be recognised, and
goldens.safetensors has the inputs and PyTorch's outputs.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail as InvalidModel
from safetensors.torch import load_file, save_file

from .dialects import cases, example, network


def strip(path: Path) -> None:
    """Removes the names of source files and other annotations of the exporters."""
    model = onnx.load(path)
    model.doc_string = ""
    del model.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.doc_string = ""
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    onnx.save(model, path)


def export(net: torch.nn.Module, x: torch.Tensor, path: Path, dynamo: bool, free: bool, opset: int) -> None:
    names = {"input_names": ["input"], "output_names": ["logits"]}
    if dynamo:
        shapes = ({0: torch.export.Dim("batch", min=1, max=1024)},) if free else None
        torch.onnx.export(net, (x,), path, dynamo=True, dynamic_shapes=shapes, verbose=False, external_data=False, **names)
    else:
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}} if free else None
        torch.onnx.export(net, (x,), path, dynamo=False, opset_version=opset, dynamic_axes=axes, **names)
    strip(path)


def optimise(source: Path, target: Path, level: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    strip(target)


def slim(source: Path, target: Path) -> None:
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), target)
    strip(target)


def simplify(source: Path, target: Path) -> None:
    import onnxsim

    model, is_equal = onnxsim.simplify(onnx.load(source))
    assert is_equal, f"onnxsim changed the results of {source}"
    onnx.save(model, target)
    strip(target)


def gives_output(path: Path, x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether ONNX Runtime gets PyTorch's output from a file. Some rewriters make mistakes."""
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except InvalidModel:
        return False
    output = session.run(None, {"input": x.numpy()})[0]
    return bool((torch.from_numpy(output) - y).abs().max() <= 1e-4 * y.abs().max())


def without(folder: Path, style: str) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The stored cases and tensors of all styles but one."""
    listed = json.loads((folder / "cases.json").read_text())
    tensors = load_file(folder / "goldens.safetensors")
    return (
        [case for case in listed if case["style"] != style],
        {name: tensor for name, tensor in tensors.items() if name.rsplit(".", 2)[0] != style},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--only", help="write this style alone and keep the files of the others")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    listed, tensors = without(args.out, args.only) if args.only else ([], {})
    for i, (name, case) in enumerate(cases().items()):
        if args.only and name != args.only:
            continue
        net = network(name)
        for batch in (1, 2):
            x = example(name, batch)
            with torch.no_grad():
                y = net.double()(x.double()).float()
            net.float()
            tensors[f"{name}.input.{batch}"], tensors[f"{name}.output.{batch}"] = x, y
        files: list[tuple[str, int]] = []

        def write(suffix: str, batch: int, make) -> Path:
            path = args.out / f"{name}-{suffix}.onnx"
            make(path)
            x, y = tensors[f"{name}.input.{batch}"], tensors[f"{name}.output.{batch}"]
            if gives_output(path, x, y):
                files.append((path.name, batch))
            else:
                print(f"{path.name}: omitted, because ONNX Runtime does not give PyTorch's output", flush=True)
                path.unlink()
            return path

        free = lambda batch, dynamo, opset: lambda path: export(
            net, example(name, batch), path, dynamo, batch > 1, opset
        )
        script = write("script-free", 2, free(2, False, 17))
        dynamo = write("dynamo-free", 2, free(2, True, 18))
        # Each style has some of the remaining variants. Together they cover all.
        write("script-fixed", 1, free(1, False, 11))
        if i % 2 == 0:
            write("dynamo-fixed", 1, free(1, True, 18))
        if i % 3 == 0:
            write("script-free-ort-basic", 2, lambda path: optimise(script, path, "BASIC"))
            write("script-free-slim", 2, lambda path: slim(script, path))
        if i % 3 == 1:
            write("script-free-ort-extended", 2, lambda path: optimise(script, path, "EXTENDED"))
            write("dynamo-free-sim", 2, lambda path: simplify(dynamo, path))
        if i % 3 == 2:
            write("dynamo-free-ort-basic", 2, lambda path: optimise(dynamo, path, "BASIC"))
            write("script-free-sim", 2, lambda path: simplify(script, path))
        for file, batch in files:
            listed.append({"file": file, "style": name, "batch": batch, "found": case.found, "unrecognised": case.unrecognised})
        print(name, flush=True)
    order = list(cases())
    listed.sort(key=lambda case: order.index(case["style"]))
    save_file(tensors, args.out / "goldens.safetensors")
    (args.out / "cases.json").write_text(json.dumps(listed, indent=0) + "\n")


if __name__ == "__main__":
    main()
