"""A stand-in for a run's process: iterations that cost nothing, resumed, stopped by SIGTERM, paused at a rung.

python fake_run.py CONFIG --resume trains; python fake_run.py CONFIG MODEL evaluates. The metric is a function of the
configuration, the seed and the iteration.
"""

import json
import signal
import sys
import time
from pathlib import Path

import yaml


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def metric(config, share):
    width, seed = config["model"]["neck"]["out_channels"], config["train"]["seed"]
    return share * (0.01 * width + 0.003 * seed * (width % 7)) * (1 - config["model"]["roi_heads"]["score_threshold"])


def main():
    config = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder, total = Path(config["output_dir"]), config["train"]["iterations"]
    metrics = folder / "metrics.json"
    with open(folder / "starts.txt", "a") as file:
        file.write(f"{len(lines(metrics))}\n")
    if config["data"]["test_batch_size"] == 7:
        print("Traceback: ...\nerror: planted\nand a last line")
        return 1
    if sys.argv[2] != "--resume":
        assert Path(sys.argv[2]).is_file()
        metrics.write_text(json.dumps({"iteration": total, "segm/AP": metric(config, 1.0)}) + "\n")
        return 0
    pause = next((hook["iteration"] for hook in config["hooks"] if hook["name"] == "PauseAt"), None)
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    for iteration in range(len(lines(metrics)), total):
        if stopped or iteration == pause:
            return 75
        time.sleep(0.02)
        line = {"iteration": iteration + 1, "loss/total": 1 / (iteration + 1)}
        if (iteration + 1) % 3 == 0 or iteration + 1 == total:
            line["segm/AP"] = (
                metric(config, (iteration + 1) / total) if config["data"]["test_batch_size"] != 9 else None
            )
        with open(metrics, "a") as file:
            file.write(json.dumps(line) + "\n")
    (folder / "model_final.pth").write_text("a model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
