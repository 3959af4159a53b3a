"""Checkpoints that an earlier version has written: they resume, to the bit."""

import torch
from fakes import lines, make_trainer

from segkit import build_model, load_checkpoint, load_config
from segkit.engine.checkpoint import name_last_checkpoint, read_checkpoint, upgrade_checkpoint
from segkit.engine.run import train

FORMER_KEYS = {
    "append_gt_boxes": "add_objects",
    "batch_size_per_image": "samples",
    "bg_iou_threshold": "background_iou",
    "fg_iou_threshold": "foreground_iou",
}


def with_former_keys(value):
    if isinstance(value, list):
        return [with_former_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {FORMER_KEYS.get(key, key): with_former_keys(item) for key, item in value.items()}


def with_former_layers(weights):
    return {name.replace("deltas", "offsets"): value for name, value in weights.items()}


def as_formerly(state):
    """Returns the checkpoint as the version before the renaming of keys and layers wrote it."""
    groups = [
        {**group, "param_names": [name.replace("deltas", "offsets") for name in group["param_names"]]}
        for group in state["optimizer"]["param_groups"]
    ]
    ema = {**state["ema"], "weights": with_former_layers(state["ema"]["weights"])}
    return {
        **{key: value for key, value in state.items() if key != "ema"},
        "averaged": ema,
        "model": with_former_layers(state["model"]),
        "optimizer": {**state["optimizer"], "param_groups": groups},
        "config": with_former_keys(state["config"]),
    }


def test_a_run_of_the_former_names_resumes_to_the_bit(tmp_path, caplog):
    synthetic = "{format: synthetic, num_images: 4, image_size: [64, 64], min_objects: 2, max_objects: 3, seed: 0}"
    cfg = load_config("segkit://quickstart.yaml", [
        f"data.train={synthetic}", "data.val=null", "data.num_workers=0", "data.batch_size=1", "train.device=cpu",
        "model.neck.out_channels=16", "train.iterations=3", "train.checkpoint_period=2", "train.ema_decay=0.9",
        f"output_dir={tmp_path / 'whole'}",
    ])  # fmt: skip
    train(cfg)
    state = torch.load(tmp_path / "whole" / "model_0000002.pth", weights_only=True)
    former = as_formerly(state)
    assert "roi_heads.box_head.offsets.weight" in former["averaged"]["weights"]
    assert {"samples", "foreground_iou"} <= former["config"]["model"]["proposal_generator"].keys()
    path = tmp_path / "resumed" / "model_0000002.pth"
    path.parent.mkdir()
    torch.save(former, path)
    name_last_checkpoint(path)
    caplog.clear()
    train(cfg.with_values({"output_dir": str(path.parent)}), resume=True)
    (differences,) = [r.getMessage() for r in caplog.records if "keys that differ" in r.getMessage()]
    assert "output_dir" in differences and not any(key in differences for key in FORMER_KEYS.values())
    whole, resumed = (read_checkpoint(tmp_path / run / "model_final.pth") for run in ("whole", "resumed"))
    assert resumed["iteration"] == 3
    for weights in (lambda s: s["model"], lambda s: s["ema"]["weights"]):
        assert weights(whole).keys() == weights(resumed).keys()
        assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
    moments = [s["optimizer"]["state"] for s in (whole, resumed)]
    assert all(torch.equal(own["exp_avg"], moments[1][index]["exp_avg"]) for index, own in moments[0].items())
    model = build_model(cfg, len(state["classes"]))
    load_checkpoint(model, path)
    assert all(torch.equal(value, state["model"][name]) for name, value in model.state_dict().items())


def test_a_layer_of_the_model_that_is_called_like_a_former_one_keeps_its_name():
    state = {"model": {"offsets.weight": 1, "head.offsets.bias": 2, "gone.offsets.bias": 3}}
    upgraded = upgrade_checkpoint(state, {"offsets.weight", "deltas.weight", "head.deltas.bias"})
    assert upgraded["model"] == {"offsets.weight": 1, "head.deltas.bias": 2, "gone.offsets.bias": 3}


def test_an_older_checkpoint_goes_on_and_says_what_is_another(tmp_path, caplog):
    """Its hooks have no classes, its groups no names, and its random numbers came from other streams."""
    make_trainer(tmp_path, iterations=6).train()
    state = read_checkpoint(tmp_path / "model_final.pth")
    for key in ("streams", "hook_classes", "infinite_buffers"):
        del state[key]
    for group in state["optimizer"]["param_groups"]:
        del group["param_names"], group["initial_lr"]
    caplog.clear()
    trainer = make_trainer(tmp_path, iterations=9, state=state)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.05
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2 and "drew its random numbers from other streams" in warnings[0]
    assert warnings[1].startswith("max_iterations was 6")
    trainer.train()
    assert [line["iteration"] for line in lines(tmp_path)][-1] == 9
