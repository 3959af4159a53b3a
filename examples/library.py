"""segkit as a library: no configuration file, no trainer, your own loop.

python examples/library.py [STEPS]
"""

from __future__ import annotations

import sys

import torch

import segkit
from segkit.data.formats import Synthetic
from segkit.modeling.backbones import TinyNet


def main(steps: int = 20) -> None:
    torch.manual_seed(0)  # weights, anchors and proposals are drawn from torch's global random state
    images = Synthetic(num_images=64, seed=0)
    model = segkit.mask_rcnn(
        TinyNet(),
        num_classes=len(images.classes),
        fpn_channels=32,
        mask_conv_dims=(32,),
        fc_dims=(64,),
        anchor_sizes=((16,), (32,), (48,), (64,), (96,)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(steps):
        batch = [images.load((2 * step + i) % len(images)) for i in range(2)]
        losses = model.losses([sample.image for sample in batch], [sample.targets for sample in batch])
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        print(f"step {step}: loss {total.item():.3f}")
    model.eval()
    sample = images.load(0)
    (detections,) = model.predict([sample.image], output_sizes=[sample.size])
    print(f"{len(detections)} detections in an image of {len(sample.targets)} objects")
    for encoded, score in zip(detections.to_rle()[:3], detections.scores[:3], strict=True):
        print(f"  score {score:.2f}, mask {encoded['counts'][:20]}...")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
