"""Taking a classification network apart into stages, which are found by tracing it (torch.fx) and running it once.

A *cut* is a value on which all that follows depends and that no other value passes by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.ops import StochasticDepth

from segkit.modeling.layers.frozen_bn import FrozenBatchNorm2d
from segkit.modeling.layers.norm import SyncBatchNorm2d
from segkit.utils.errors import SegkitError

PROBE = (64, 96)  # height and width: so that no axis of a map can be taken for another one
STRIDES = (4, 8, 16, 32)
# Layers that stay layers, besides torch's own: they behave differently in training, and one graph serves both modes.
LEAVES = (StochasticDepth, FrozenBatchNorm2d, SyncBatchNorm2d)


@dataclass(frozen=True)
class Cut:
    """A place where a network can be taken apart.

    Attributes:
        node: what gives the value, a map.
        stride: of the map.
        channels: of the map.
        channels_last: whether it is [B, H, W, C].
        depth: how many names the modules of this node and of those it feeds have in common: 0 between a network's
            largest parts, more inside a block.
    """

    node: fx.Node
    stride: int
    channels: int
    channels_last: bool
    depth: int


def take_apart(network: nn.Module) -> list[tuple[fx.GraphModule, Cut]]:
    """The stem of a network for RGB images and its stages of strides 4, 8, 16 and 32, each with the cut that it ends at.

    Parameters are the network's own, under their names there.

    Raises:
        SegkitError: it has no such stages, or does not take images of any size.
    """
    training = network.training
    network.eval()
    try:
        graph = _Tracer().trace(network)
        cuts = choose_cuts(find_cuts(network, graph))
    except SegkitError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SegkitError(f"it does not take images of {PROBE[0]} x {PROBE[1]} pixels ({reason})") from error
    finally:
        network.train(training)
    return list(zip(segments(network, graph, [cut.node for cut in cuts]), cuts, strict=True))


def find_cuts(network: nn.Module, graph: fx.Graph) -> list[Cut]:
    """The cuts of a network, in the order they run."""
    runner = _Shapes(network, graph)
    with torch.no_grad():
        runner.run(torch.zeros(1, 3, *PROBE, device=next(network.parameters()).device))
    cuts = []
    for node in _narrow(graph):
        shape = runner.shapes.get(node, ())
        if len(shape) != 4:
            continue
        for height, width, channels, last in ((shape[2], shape[3], shape[1], False), (*shape[1:], True)):
            stride = PROBE[0] // height
            if (height * stride, width * stride) == PROBE:
                cuts.append(Cut(node, stride, channels, last, _common_depth(node)))
                break
    return cuts


def choose_cuts(cuts: Sequence[Cut]) -> list[Cut]:
    """The end of the stem, and the ends of the stages of strides 4, 8, 16 and 32.

    A stage ends where its stride ends: at the last of the cuts between the network's largest parts. The stem ends with
    stride 2, or with the first part of stride 4.

    Raises:
        SegkitError: not all of the strides are there.
    """
    if not {cut.stride for cut in cuts}.issuperset(STRIDES):
        found = sorted({cut.stride for cut in cuts} - {1})
        raise SegkitError(f"its maps have the strides {found}; needed are 4, 8, 16 and 32")
    by_stride = {stride: _shallow([cut for cut in cuts if cut.stride == stride]) for stride in (2, *STRIDES)}
    stem = by_stride[2][-1] if by_stride[2] else by_stride[4][0]
    return [stem, *(by_stride[stride][-1] for stride in STRIDES)]


def segments(network: nn.Module, graph: fx.Graph, ends: Sequence[fx.Node]) -> Iterator[fx.GraphModule]:
    """The network's parts up to each of ``ends``; what comes after the last one is left out."""
    nodes = list(graph.nodes)
    start = next(node for node in nodes if node.op == "placeholder")
    for end in ends:
        part = fx.Graph()
        copies = {start: part.placeholder("x")}
        for node in nodes[nodes.index(start) + 1 : nodes.index(end) + 1]:
            copies[node] = part.node_copy(node, copies.__getitem__)
        part.output(copies[end])
        yield fx.GraphModule(network, part)
        start = end


def stem_of(part: fx.GraphModule) -> str:
    """The name of the convolution that takes the images."""
    image = next(node for node in part.graph.nodes if node.op == "placeholder")
    for user in image.users:
        if user.op == "call_module" and isinstance(part.get_submodule(str(user.target)), nn.Conv2d):
            return str(user.target)
    raise SegkitError("its first layer is no convolution, so that in_channels is 3", key="in_channels")


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or isinstance(m, LEAVES)


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shapes."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.extra_traceback = False
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        return value


def _narrow(graph: fx.Graph) -> Iterator[fx.Node]:
    """Nodes that no other value passes by."""
    nodes = list(graph.nodes)
    place = {node: i for i, node in enumerate(nodes)}
    passing = -1  # the last use of anything given before the node
    for i, node in enumerate(nodes):
        if node.op != "placeholder" and passing <= i:
            yield node
        passing = max(passing, *(place[user] for user in node.users), -1)


def _common_depth(node: fx.Node) -> int:
    own = _module_names(node)
    pairs = (zip(own, _module_names(user), strict=False) for user in node.users)
    return min((len(list(takewhile(lambda pair: pair[0] == pair[1], of_user))) for of_user in pairs), default=0)


def _module_names(node: fx.Node) -> list[str]:
    if node.op == "call_module":
        return str(node.target).split(".")
    path: str = next(reversed(node.meta.get("nn_module_stack", {"": None})), "")
    return path.partition("@")[0].split(".") if path else []  # "@1": the second call of the module


def _shallow(cuts: Sequence[Cut]) -> list[Cut]:
    depth = min((cut.depth for cut in cuts), default=0)
    return [cut for cut in cuts if cut.depth == depth]
