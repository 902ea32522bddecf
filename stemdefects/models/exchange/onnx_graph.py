"""The U-Net as an ONNX graph, node by node, for images of any size that the network takes.

Built by hand because it is small and because a tracer would freeze the image size. Inside it is (B, C, H, W); what goes
in and comes out is laid out as in `models.unet`.
"""

from typing import Any

import numpy as np

from stemdefects.models.ensemble import SMALL
from stemdefects.models.unet import LOG_SIGMA_RANGE, N_REGIONS
from stemdefects.needed import HUB, needed

OPSET = 17  # of ONNX 1.12 (2022): what runs the file need not be newer
EPSILON = 1e-6  # of flax's group norm
N_GROUPS = 4  # as `models.unet` has them
IMPOSSIBLE = np.float32(-1e30)
NAMES = ("presence", "state", "offset", "log_sigma", "region")


class Graph:
    """Nodes and constants of a graph that is being built; methods append a node and give the name of its output."""

    def __init__(self) -> None:
        onnx = needed("onnx", "an exported network", HUB)
        self.helper: Any = onnx.helper
        self.numpy_helper: Any = onnx.numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """A constant array."""
        name = f"c{len(self.constants)}"
        self.constants.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, n: int = 1, **attributes: Any) -> Any:
        """A node; gives its output, or its `n` outputs."""
        outputs = [f"v{len(self.nodes)}_{i}" for i in range(n)]
        self.nodes.append(self.helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs[0] if n == 1 else outputs

    def conv(self, x: str, params: dict) -> str:
        """A convolution of odd size that keeps the shape."""
        kernel = np.transpose(np.asarray(params["kernel"], np.float32), (3, 2, 0, 1))
        pad = kernel.shape[2] // 2
        bias = self.constant(np.asarray(params["bias"], np.float32))
        return self.add("Conv", x, self.constant(kernel), bias, pads=[pad] * 4, kernel_shape=list(kernel.shape[2:]))

    def group_norm(self, x: str, params: dict) -> str:
        """Flax's `GroupNorm` with `N_GROUPS` groups."""
        groups = self.add("Reshape", x, self.constant(np.array([0, N_GROUPS, -1])))
        centred = self.add("Sub", groups, self.add("ReduceMean", groups, axes=[2]))
        variance = self.add("ReduceMean", self.add("Mul", centred, centred), axes=[2])
        spread = self.add("Sqrt", self.add("Add", variance, self.constant(np.float32(EPSILON))))
        flat = self.add("Div", centred, spread)
        scale, bias = (self.constant(np.asarray(params[k], np.float32).reshape(1, -1, 1, 1)) for k in ("scale", "bias"))
        back = self.add("Reshape", flat, self.add("Shape", x))
        return self.add("Add", self.add("Mul", back, scale), bias)

    def by_cell(self, x: str) -> str:
        """(B, C, h, w) as (B, h, w, C)."""
        return self.add("Transpose", x, perm=[0, 2, 3, 1])

    def mean(self, members: list[str]) -> str:
        """Mean of several."""
        return self.add("Mean", *members) if len(members) > 1 else members[0]


def network(graph: Graph, frames: str, params: dict, cfg: Any, n_sites: int, n_states: int) -> list[str]:
    """`models.unet.UNet` on `frames` (B, T, H, W); its outputs in the order of `NAMES`.

    params: of one network, as flax names them; cfg: `schema.ModelConfig`.
    """
    n_conv = n_block = 0

    def conv(x):
        nonlocal n_conv
        n_conv += 1
        return graph.conv(x, params[f"Conv_{n_conv - 1}"])

    def blocks(x, level):
        nonlocal n_block
        for _ in range(cfg.depths[level]):
            own = params[f"Block_{n_block}"]
            n_block += 1
            y = graph.conv(x, own["Conv_0"])
            y = graph.add("Relu", graph.group_norm(y, own["GroupNorm_0"]) if cfg.norm == "group" else y)
            y = graph.conv(y, own["Conv_1"])
            y = graph.group_norm(y, own["GroupNorm_1"]) if cfg.norm == "group" else y
            x = graph.add("Relu", graph.add("Add", x, y))
        return x

    def smaller(x, block):
        return graph.add("SpaceToDepth", x, blocksize=block) if block > 1 else x

    def larger(x, block):
        return graph.add("DepthToSpace", x, blocksize=block, mode="DCR") if block > 1 else x

    x = graph.add("Relu", conv(smaller(frames, cfg.stem)))
    skips = []
    for level in range(len(cfg.filters)):
        x = blocks(conv(smaller(x, 2)) if level else x, level)
        skips.append(x)
    for level in reversed(range(len(cfg.filters) - 1)):
        up = larger(conv(x), 2)
        x = blocks(graph.add("Relu", graph.add("Add", conv(skips[level]), up)), level)
    head = larger(graph.conv(x, params["heads"]), cfg.stem // cfg.stride)
    sizes = graph.constant(np.array([n_sites, n_states, 2 * n_sites, n_sites, N_REGIONS]))
    presence, state, offset, log_sigma, region = graph.add("Split", head, sizes, n=5, axis=1)
    presence = graph.by_cell(graph.add("Sub", presence, graph.constant(np.float32(2.0))))
    offset = graph.add("Mul", graph.by_cell(offset), graph.constant(np.float32(cfg.stride)))
    offset = graph.add("Reshape", offset, graph.constant(np.array([0, 0, 0, n_sites, 2])))
    low, high = (graph.constant(np.float32(v)) for v in LOG_SIGMA_RANGE)
    log_sigma = graph.by_cell(graph.add("Clip", log_sigma, low, high))
    return [presence, graph.by_cell(state), offset, log_sigma, graph.by_cell(region)]


def ensemble(graph: Graph, members: list[list[str]], site_mask: np.ndarray) -> list[str]:
    """`models.ensemble.combine` of the members' outputs, and the spread of their states after them."""
    presence, state, offset, log_sigma, region = (list(parts) for parts in zip(*members, strict=True))
    small, one = graph.constant(np.float32(SMALL)), graph.constant(np.float32(1))
    almost, two = graph.constant(np.float32(1 - SMALL)), graph.constant(np.float32(2))

    def probabilities(x):
        parts = []
        for own in np.asarray(site_mask):
            masked = graph.add("Add", x, graph.constant(np.where(own, np.float32(0), IMPOSSIBLE)))
            share = graph.add("Softmax", masked, axis=-1)
            parts.append(graph.add("Mul", share, graph.constant(own.astype(np.float32))))
        return graph.add("Sum", *parts)

    def variance(values):
        middle = graph.mean(values)
        off = [graph.add("Sub", v, middle) for v in values]
        return graph.mean([graph.add("Mul", d, d) for d in off])

    p = graph.add("Clip", graph.mean([graph.add("Sigmoid", x) for x in presence]), small, almost)
    logit = graph.add("Sub", graph.add("Log", p), graph.add("Log", graph.add("Sub", one, p)))
    states = [probabilities(x) for x in state]
    stated = graph.mean([graph.add("Exp", graph.add("Mul", two, s)) for s in log_sigma])
    apart = graph.add("ReduceMean", variance(offset), axes=[4], keepdims=0)
    log_mixture = graph.add("Div", graph.add("Log", graph.add("Add", stated, apart)), two)
    regions = graph.mean([graph.add("Softmax", r, axis=-1) for r in region])
    return [
        logit,
        graph.add("Log", graph.add("Max", graph.mean(states), small)),
        graph.mean(offset),
        log_mixture,
        graph.add("Log", graph.add("Max", regions, small)),
        graph.add("Sqrt", variance(states)),
    ]
