"""Splits a classification network into a stem and stages of strides 4, 8, 16 and 32.

torchvision's ``create_feature_extractor`` traces the network and computes its intermediate maps, from which the ends of
the stages are found. It returns a single module, which runs from the image. :func:`segments` splits that into one module
for each stage, because freezing and gradient checkpointing work on stages: with checkpointing, a forward pass of
``efficientnet_b0`` on 512 x 512 pixels keeps 10 MB for the backward pass, and 461 MB without.

torchvision traces the network four times, for the names and for the graph in both modes. For most networks this takes 0.1 to
0.3 s longer than one trace (``resnet50`` 0.2 s in all), for ``densenet201`` 1.5 s.

A *cut* is a node of the graph on which all later nodes depend, with no other connection past it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from segkit.modeling.layers.frozen_bn import FrozenBatchNorm2d
from segkit.modeling.layers.norm import SyncBatchNorm2d
from segkit.utils.errors import SegkitError

PROBE = (64, 96)  # height and width of a test image; different, so that a map's axes can be distinguished
STRIDES = (4, 8, 16, 32)
# Leaf layers, like all of torch and torchvision.ops: they depend on the mode, and one graph serves both modes.
LEAF_MODULES = (FrozenBatchNorm2d, SyncBatchNorm2d)


@dataclass(frozen=True)
class Cut:
    """A node at which a network can be split.

    Attributes:
        node: computes the map that is passed on.
        stride: of the map.
        channels: of the map.
        channels_last: whether the map is [B, H, W, C].
        depth: number of leading names that the node's module path shares with those of the nodes it feeds: 0 between
            the largest parts of a network, more inside a block.
    """

    node: fx.Node
    stride: int
    channels: int
    channels_last: bool
    depth: int


def split_into_stages(network: nn.Module) -> list[tuple[fx.GraphModule, Cut]]:
    """The stem and the stages of strides 4, 8, 16 and 32, each with the cut at its end.

    Args:
        network: takes RGB images [B, 3, H, W]. Its parameters are shared, under the names they have there.
    Raises:
        SegkitError: there are no such stages, or the network does not take images of any size.
    """
    training = network.training
    network.eval()
    try:
        extractor = extract_all_nodes(network)
        cuts = choose_cuts(find_cuts(extractor))
    except SegkitError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SegkitError(f"it does not take images of {PROBE[0]} x {PROBE[1]} pixels ({reason})") from error
    finally:
        network.train(training)
    return list(zip(segments(network, extractor.graph, [cut.node for cut in cuts]), cuts, strict=True))


def extract_all_nodes(network: nn.Module) -> fx.GraphModule:
    """A feature extractor that returns the values of all nodes of a network, by name."""
    tracer = {"leaf_modules": list(LEAF_MODULES)}
    train_names, eval_names = get_graph_node_names(network, dict(tracer), suppress_diff_warning=True)
    return create_feature_extractor(
        network,
        train_return_nodes=train_names[-1:],  # the graph of the training mode is not used
        eval_return_nodes=eval_names,
        tracer_kwargs=dict(tracer),
        suppress_diff_warning=True,
    )


def find_cuts(extractor: fx.GraphModule) -> list[Cut]:
    """The cuts of a network, in the order they run.

    Args:
        extractor: of :func:`extract_all_nodes`.
    """
    image = torch.zeros(1, 3, *PROBE, device=next(extractor.parameters()).device)
    with torch.no_grad():
        values = extractor.forward(image)  # a call would print the generated code if the network refuses the image
    [output] = (node for node in extractor.graph.nodes if node.op == "output")
    names = {node: name for name, node in output.args[0].items()}
    cuts = []
    for node in _bottlenecks([node for node in extractor.graph.nodes if node is not output]):
        value = values.get(names.get(node))
        if not isinstance(value, Tensor) or value.dim() != 4:
            continue
        shape = value.shape
        for height, width, channels, last in ((shape[2], shape[3], shape[1], False), (*shape[1:], True)):
            stride = PROBE[0] // height
            if (height * stride, width * stride) == PROBE:
                cuts.append(Cut(node, stride, channels, last, _common_depth(node, names)))
                break
    return cuts


def choose_cuts(cuts: Sequence[Cut]) -> list[Cut]:
    """The ends of the stem and of the stages of strides 4, 8, 16 and 32.

    A stage ends at the last map of its stride, among the cuts between the network's largest parts. The stem ends at the
    last map of stride 2, or at the first of stride 4 if there is none.

    Raises:
        SegkitError: one of the strides is missing.
    """
    if not {cut.stride for cut in cuts}.issuperset(STRIDES):
        found = sorted({cut.stride for cut in cuts} - {1})
        raise SegkitError(f"its maps have the strides {found}; needed are 4, 8, 16 and 32")
    by_stride = {stride: _shallowest([cut for cut in cuts if cut.stride == stride]) for stride in (2, *STRIDES)}
    stem = by_stride[2][-1] if by_stride[2] else by_stride[4][0]
    return [stem, *(by_stride[stride][-1] for stride in STRIDES)]


def segments(network: nn.Module, graph: fx.Graph, ends: Sequence[fx.Node]) -> Iterator[fx.GraphModule]:
    """The parts of a network up to each of ``ends``, in order, without what follows the last."""
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


def stem_convolution(stem: fx.GraphModule) -> str:
    """The name of the convolution that takes the image.

    Raises:
        SegkitError: the first layer is no convolution.
    """
    image = next(node for node in stem.graph.nodes if node.op == "placeholder")
    for user in image.users:
        if user.op == "call_module":
            for name, module in stem.get_submodule(str(user.target)).named_modules(prefix=str(user.target)):
                if isinstance(module, nn.Conv2d):
                    return name
    raise SegkitError("its first layer is no convolution, so that in_channels is 3", key="in_channels")


def _bottlenecks(nodes: Sequence[fx.Node]) -> Iterator[fx.Node]:
    """Nodes with no connection past them, from an earlier node to a later one."""
    index = {node: i for i, node in enumerate(nodes)}
    last_use = -1  # of the results of all earlier nodes
    for i, node in enumerate(nodes):
        if node.op != "placeholder" and last_use <= i:
            yield node
        last_use = max(last_use, *(index.get(user, -1) for user in node.users), -1)


def _common_depth(node: fx.Node, names: dict[fx.Node, str]) -> int:
    """See ``Cut.depth``; 0 for a node that feeds none."""
    own = names[node].split(".")
    paths = (names[user].split(".") for user in node.users if user in names)
    depths = (len(list(takewhile(lambda pair: pair[0] == pair[1], zip(own, path, strict=False)))) for path in paths)
    return min(depths, default=0)


def _shallowest(cuts: Sequence[Cut]) -> list[Cut]:
    depth = min((cut.depth for cut in cuts), default=0)
    return [cut for cut in cuts if cut.depth == depth]
