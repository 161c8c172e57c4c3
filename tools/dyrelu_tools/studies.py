"""The comparisons of activations that `study` trains: networks, variants, and the rows of the tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from .models import build
from .train import Recipe

PAPERS_RELU = 60.3


@dataclass(frozen=True)
class Variant:
    """An activation, other activations at some positions, and how the layers that compute coefficients learn (see
    `Recipe`)."""

    activation: str
    arguments: dict[str, str] = field(default_factory=dict)
    hyperfunction_lr: float = 1.0
    hyperfunction_fan_in: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a table: a variant, and the paper's top-1 accuracy of MobileNetV2 x0.35 on ImageNet with it."""

    title: str
    variant: str
    paper: float | None = None


@dataclass(frozen=True)
class Study:
    """A network that is trained with the same settings in several variants. Its first table is drawn, too."""

    network: str
    arguments: dict[str, float]
    recipe: Recipe
    variants: dict[str, Variant]
    tables: dict[str, list[Row]]

    def options(self, variant: str) -> dict[str, object]:
        """The description of the network that a checkpoint stores."""
        chosen = self.variants[variant]
        arguments = self.arguments | chosen.arguments
        return {"network": self.network, "activation": chosen.activation, "arguments": arguments}

    def settings(self, variant: str, seed: int) -> Recipe:
        """The settings of a run."""
        chosen = self.variants[variant]
        rates = {"hyperfunction_lr": chosen.hyperfunction_lr, "hyperfunction_fan_in": chosen.hyperfunction_fan_in}
        return replace(self.recipe, seed=seed, **rates)

    def build(self, variant: str, classes: int = 10) -> nn.Module:
        options = self.options(variant)
        return build(options["network"], options["activation"], classes, **options["arguments"])


MINI = Study(
    network="mobilenetv2-mini",
    arguments={},
    recipe=Recipe(sizes="48:0,64:0.5", epochs=12),
    variants={
        "relu": Variant("relu"),
        "leaky_relu": Variant("leaky_relu"),
        "prelu": Variant("prelu"),
        "maxout": Variant("maxout"),
        "se": Variant("se"),
        "aprelu": Variant("aprelu"),
        "dyrelu-a": Variant("dyrelu-a"),
        "dyrelu-b": Variant("dyrelu-b"),
        "dyrelu-c": Variant("dyrelu-c"),
        "dyrelu-b-k1": Variant("dyrelu-b,k=1"),
        "dyrelu-b-k3": Variant("dyrelu-b,k=3"),
        "dyrelu-b-r4": Variant("dyrelu-b,reduction=4"),
        "dyrelu-b-r16": Variant("dyrelu-b,reduction=16"),
        "dyrelu-b-expansion": Variant("relu", {"expansion_act": "dyrelu-b"}),
        "dyrelu-b-depthwise": Variant("relu", {"depthwise_act": "dyrelu-b"}),
        "dyrelu-b-projection": Variant("dyrelu-b", {"last_act": "dyrelu-b,k=1"}),
        "dyrelu-b-slow": Variant("dyrelu-b", hyperfunction_lr=0.1),
    },
    tables={
        "Activation": [
            Row("ReLU", "relu", PAPERS_RELU),
            Row("LeakyReLU", "leaky_relu", 60.9),
            Row("PReLU", "prelu", 63.1),
            Row("SE, then ReLU", "se", 62.8),
            Row("Maxout, K = 2", "maxout", 64.9),
            Row("APReLU", "aprelu"),
            Row("DY-ReLU-A", "dyrelu-a", 63.3),
            Row("DY-ReLU-B", "dyrelu-b", 66.4),
            Row("DY-ReLU-C", "dyrelu-c", 66.3),
        ],
        "Pieces of DY-ReLU-B": [
            Row("K = 1", "dyrelu-b-k1"),
            Row("K = 2", "dyrelu-b", 66.4),
            Row("K = 3", "dyrelu-b-k3", 66.6),
        ],
        "Reduction of DY-ReLU-B": [
            Row("R = 4", "dyrelu-b-r4", 66.5),
            Row("R = 8", "dyrelu-b", 66.4),
            Row("R = 16", "dyrelu-b-r16", 65.9),
        ],
        "Positions of DY-ReLU-B": [
            Row("none (ReLU)", "relu", PAPERS_RELU),
            Row("after expansions", "dyrelu-b-expansion", 64.2),
            Row("after depthwise convolutions", "dyrelu-b-depthwise", 65.3),
            Row("both, stem and head", "dyrelu-b", 66.2),
            Row("these, and K = 1 after projections", "dyrelu-b-projection", 66.4),
        ],
        "Learning rate of DY-ReLU-B's hyperfunctions": [
            Row("that of the convolutions", "dyrelu-b", 66.4),
            Row("a tenth of it", "dyrelu-b-slow"),
        ],
    },
)

# The network of the paper's table 2. Why its hyperfunctions need a limit of inputs: `train.parameter_groups`.
X035 = Study(
    network="mobilenetv2",
    arguments={"width": 0.35},
    recipe=Recipe(sizes="64:0", epochs=30),
    variants={
        "relu": Variant("relu"),
        "dyrelu-a": Variant("dyrelu-a", hyperfunction_fan_in=16),
        "dyrelu-b": Variant("dyrelu-b", hyperfunction_fan_in=16),
        "dyrelu-c": Variant("dyrelu-c", hyperfunction_fan_in=16),
        "dyrelu-b-slow": Variant("dyrelu-b", hyperfunction_lr=0.1),
    },
    tables={
        "Activation": [
            Row("ReLU", "relu", PAPERS_RELU),
            Row("DY-ReLU-A", "dyrelu-a", 63.3),
            Row("DY-ReLU-B", "dyrelu-b", 66.4),
            Row("DY-ReLU-C", "dyrelu-c", 66.3),
        ],
        "Learning rate of DY-ReLU-B's hyperfunctions": [
            Row("that of the convolutions, less with more than 16 inputs", "dyrelu-b", 66.4),
            Row("a tenth of it", "dyrelu-b-slow"),
        ],
    },
)

STUDIES = {"mini": MINI, "x0.35": X035}
