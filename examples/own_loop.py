"""Your own training loop: model, losses and detections without configuration or trainer."""

import torch

import segkit
from segkit.data import Synthetic
from segkit.modeling import TinyNet


def main(steps: int = 8) -> None:
    torch.manual_seed(0)  # weights, anchors and proposals are drawn from torch's global random state
    images = Synthetic(num_images=2 * steps, image_size=(96, 96), max_objects=12)
    sizes = ((16,), (32,), (48,), (64,), (96,))
    model = segkit.mask_rcnn(
        TinyNet(),
        num_classes=len(images.classes),
        anchor_sizes=sizes,
        fpn_channels=32,
        mask_conv_dims=(32,),
        fc_dims=(64,),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(steps):
        samples = [images.load(2 * step), images.load(2 * step + 1)]
        losses = model.losses([s.image for s in samples], [s.targets for s in samples])
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        print(f"step {step}: " + ", ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items()))
    sample = images.load(0)
    (detections,) = model.eval().predict([sample.image], output_sizes=[sample.size])
    print(f"{len(detections)} detections in an image of {len(sample.targets)} objects")
    for rle, score in zip(detections.to_rle()[:3], detections.scores[:3], strict=True):
        print(f"  score {score:.2f}, mask {rle['counts'][:20]}...")


if __name__ == "__main__":
    main()
