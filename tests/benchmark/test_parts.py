"""Both parts run at a tiny size; times are not checked."""

import json
from types import SimpleNamespace

import pytest
import torch

from segkit.benchmark import peak_memory
from segkit.benchmark.comparison import build_side, channels_first, write_weights
from segkit.benchmark.infer import background_shift
from segkit.benchmark.measure import PeakMemory, alternate
from segkit.benchmark.models import build_random
from segkit.benchmark.options import PARTS, Options
from segkit.benchmark.peers import NoPeer, make_peer, state_to_load
from segkit.benchmark.report import Report, Row
from segkit.benchmark.run import run_parts
from segkit.benchmark.scene import jittered, make_batch
from segkit.benchmark.syncs import END, count_waits
from segkit.config.loader import load_config
from segkit.modeling.layers.matching import pairwise_iou
from segkit.modeling.weights import torchvision_detection
from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

CPU = torch.device("cpu")
SMALL = {"device": "cpu", "batch": 1, "objects": 4, "size": (64, 96), "runs": 1, "num_classes": 3, "memory": False}


def rows_of(report):
    return {row.work: row.values for row in report.rows}


def test_train_beside_torchvision(tiny, tmp_path, capsys):
    options = Options(config_file=tiny, fused=True, **SMALL)
    (report,) = run_parts(["train"], options, str(tmp_path / "out.json"))
    rows = rows_of(report)
    sides = ["segkit", "torchvision", "segkit fused"]
    assert all(list(rows[work]) == sides for work in ("time a step", "images a second", "loss, total"))
    assert set(rows["boxes of the box head"].values()) == {32.0}
    assert set(rows["boxes of the mask head"].values()) == {8.0}  # the full share of positives
    for name in ("rpn_cls", "rpn_box", "cls", "total"):
        losses = rows[f"loss, {name}"]
        assert losses["segkit"] == pytest.approx(losses["torchvision"], rel=0.3)
        assert losses["segkit fused"] == pytest.approx(losses["segkit"], rel=1e-3)
    content = json.loads((tmp_path / "out.json").read_text())
    (part,) = content["parts"]
    time = next(row for row in part["rows"] if row["work"] == "time a step")
    assert time["ratio"]["segkit"] == pytest.approx(time["torchvision"] / time["segkit"])
    assert [len(seconds) for seconds in part["seconds"].values()] == [1] * 3
    assert part["options"]["config_file"] == tiny and "torch" in content["machine"]
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if line.startswith("work"))
    assert header.split() == ["work", "segkit", "torchvision", "ratio", "segkit", "fused", "ratio"]


def test_infer_beside_torchvision(tiny):
    (report,) = run_parts(["infer"], Options(config_file=tiny, **SMALL))
    rows = rows_of(report)
    assert rows["detections"] == {"segkit": 4.0, "torchvision": 4.0}
    sizes = rows["bytes of RLE"]
    assert sizes["segkit"] == pytest.approx(sizes["torchvision"], rel=0.3) and sizes["segkit"] > 20
    assert not any("asked for: see" in note for note in report.notes)


def test_without_a_peer_segkit_is_measured_alone(capsys):
    (report,) = run_parts(["infer"], Options(config_file="segkit://quickstart.yaml", **SMALL))
    assert rows_of(report)["detections"] == {"segkit": 4.0}
    assert "it has no TinyNet" in report.notes[0]
    assert "ratio" not in report.table()


CELLS = {
    "segkit://coco/torchvision_mask_rcnn_r50_fpn.yaml": [],
    "segkit://cells/convnext_base_3.yaml": ["model.backbone.arch=tiny"],
    "segkit://cells/efficientnet_v2_m_5.yaml": ["model.backbone.arch=s"],
}


@pytest.mark.parametrize("config", CELLS)
def test_peers_have_the_same_parameters(config):
    cfg = load_config(config, CELLS[config])
    with torch.device("meta"):
        model = build_random(cfg, 5)
        peer = make_peer(model, cfg.model, (64, 64))
    converted = torchvision_detection.convert(state_to_load(peer), "peer", 5).state
    ours = {name: tensor.shape for name, tensor in model.state_dict().items() if "output_norms" not in name}
    theirs = {name: tensor.shape for name, tensor in converted.items() if name in ours or "num_batches" not in name}
    assert theirs == ours
    trainable = {name for name, p in model.named_parameters() if p.requires_grad and "output_norms" not in name}
    assert sum(p.requires_grad for p in peer.parameters()) == len(trainable)


@pytest.mark.parametrize(
    "overrides, reason",
    [
        (["model.neck.top_block=p6p7", "model.proposal_generator.anchor_generator.sizes=[[32]]"], "p6p7"),
        (["model.backbone.norm=gn"], "gn"),
        (["model.roi_heads.box_head.fc_dims=[8]"], "two layers"),
        (["model.roi_heads.mask_head.class_agnostic=true"], "class-agnostic"),
        (["model.roi_heads.mask_head=null"], "FCNMaskHead"),
    ],
)
def test_configurations_without_a_torchvision_equivalent(tiny, overrides, reason):
    cfg = load_config(tiny, overrides)
    with torch.device("meta"), pytest.raises(NoPeer, match=reason):
        make_peer(build_random(cfg, 2), cfg.model, (64, 64))


def test_channels_first_convolves_so_with_the_same_result(tiny, tmp_path):
    options = Options(config_file=tiny, **SMALL)
    write_weights(options, tmp_path, None)
    model = build_side(options, "segkit", tmp_path).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        last = model.features(x)
        channels_first(model)
        first = model.features(x)
    assert last["p2"].is_contiguous(memory_format=torch.channels_last) and first["p2"].is_contiguous()
    for name in last:
        torch.testing.assert_close(first[name], last[name], rtol=1e-3, atol=1e-4)


def test_the_scene_has_the_selected_objects():
    batch = make_batch(2, 30, (80, 120), 5)
    for targets in batch.targets:
        assert len(targets) == 30 and targets.labels.max() < 5
        dense = InstanceMasks.from_dense(targets.masks.to_dense())
        assert torch.equal(dense.crop_boxes, targets.masks.crop_boxes)  # tight, and inside
        more = jittered(targets.boxes, 100)
        assert 100 <= len(more) < 130
        assert pairwise_iou(more, targets.boxes).amax(dim=1).min() > 0.6


def test_sides_take_turns():
    order = []
    times, failed = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, CPU)
    assert order == ["a", "b"] * 3 and not failed  # the first of each warms up
    assert [len(seconds) for seconds in times.values()] == [2, 2]


def test_a_side_without_room_drops_out():
    def big():
        raise torch.OutOfMemoryError("CUDA out of memory")

    times, failed = alternate({"big": big, "small": lambda: None}, 2, CPU)
    assert failed == ["big"] and list(times) == ["small"]


def test_ratios_and_cells():
    time = Row("time a step", "s", {"segkit": 2.0, "torchvision": 3.0}, "peer/own")
    memory = Row("peak memory", "MiB", {"segkit": 2.0, "torchvision": 4.0}, "own/peer")
    loss = Row("loss", "", {"segkit": 2.0, "torchvision": 3.0})
    assert time.ratio("segkit", "torchvision") == 1.5 and memory.ratio("segkit", "torchvision") == 0.5
    assert loss.ratio("segkit", "torchvision") is None and time.ratio("segkit", "detectron2") is None
    lines = Report("train", "", [time, memory, Row("waits", "", {"segkit": 1234.0})]).table().splitlines()
    assert lines[0].split() == ["work", "segkit", "torchvision", "ratio"]
    assert lines[2].split() == ["time", "a", "step,", "s", "2", "3", "1.5"] and lines[4].split() == ["waits", "1,234"]


def test_the_peak_is_the_highest_not_the_last():
    memory = PeakMemory(CPU)
    memory.reset()
    block = torch.ones(40, 2**20)
    del block
    assert memory.read() >= 150 * 2**20


def test_the_other_process(tiny, tmp_path, capsys, monkeypatch):
    options = Options(config_file=tiny, **SMALL).filled(batch=1, objects=4, size=(64, 96))
    write_weights(options, tmp_path, None)
    ends = iter([(0, None), (1, ""), (-9, "")])

    def run(command, **how):
        """Runs the other process's work in this one."""
        assert command[1:5] == ["-m", "segkit.benchmark.peak_memory", "infer", "segkit"] and how["env"]["PYTHONPATH"]
        status, out = next(ends)
        if out is None:
            peak_memory.main(*command[3:])
            out = capsys.readouterr().out
        return SimpleNamespace(returncode=status, stdout=out, stderr="no\nluck")

    monkeypatch.setattr(peak_memory.subprocess, "run", run)
    found = [peak_memory.peak_memory("infer", "segkit", options, tmp_path) for _ in range(3)]
    assert found[0] >= 0
    assert found[1] == "its process failed: luck" and "signal 9" in found[2]


def test_background_shift_leaves_the_selected_number_of_scores():
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 2
    for background in (0, 5):
        shift = background_shift(logits, background, 0.3, 20)
        moved = logits.clone()
        moved[:, background] += shift
        scores = moved.softmax(dim=1)
        scores[:, background] = 0
        assert int((scores > 0.3).sum()) == 20


def event(name, parent=None):
    return SimpleNamespace(name=name, cpu_parent=parent)


def test_waits_are_named_by_their_operations():
    index, end = event("aten::index"), event(END)
    nonzero = event("aten::nonzero", index)
    events = [
        index,
        nonzero,
        event("cudaStreamSynchronize", nonzero),
        event("cudaStreamSynchronize", event("aten::_local_scalar_dense")),
        event("cudaLaunchKernel", index),
        event("cudaDeviceSynchronize", event("cudaDeviceSynchronize", end)),
    ]
    assert count_waits(events) == {"aten::nonzero in aten::index": 1, "aten::_local_scalar_dense": 1}


@pytest.mark.gpu
def test_waits_on_a_gpu(tiny):
    options = Options(config_file=tiny, count_syncs=True, **{**SMALL, "device": "cuda"})
    (report,) = run_parts(["train"], options)
    waiting = rows_of(report)["waits for the device"]
    assert waiting["segkit"] > 0 and waiting["torchvision"] > 0


def test_mistakes_name_the_flag(tiny):
    with pytest.raises(SegkitError, match=r"--batch must be at least 1, not 0"):
        Options(batch=0)
    with pytest.raises(SegkitError, match=r"--size must be at least 64 64, not 32 100"):
        Options(size=(32, 100))
    with pytest.raises(SegkitError, match=r"no part 'trian'; did you mean 'train'"):
        run_parts(["trian"], Options())
    with pytest.raises(SegkitError, match=r"no part 'evalute'; did you mean 'evaluate'"):
        run_parts(["data", "evalute"], Options())
    with pytest.raises(SegkitError, match=r"--count-syncs needs a CUDA GPU"):
        run_parts(["train"], Options(config_file=tiny, **{**SMALL, "device": "cpu"}, count_syncs=True))
    with pytest.raises(SegkitError, match=r"--precision: fp16 .* set --precision fp32"):
        run_parts(["train"], Options(device="cpu", precision="fp16"))


def test_every_part_has_defaults_and_notes():
    import importlib

    for module in PARTS.values():
        filled = Options().filled(**importlib.import_module(module).DEFAULTS)
        assert filled != Options()
