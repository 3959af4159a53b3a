"""Train on your own data set class, with (image, target) pairs as in torchvision."""

import torch
from torchvision.ops import masks_to_boxes

import segkit


class Discs(torch.utils.data.Dataset):
    """Images of three bright discs."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        draw = torch.Generator().manual_seed(index)
        y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
        centers = torch.randint(16, 80, (3, 2), generator=draw)
        masks = torch.stack([(x - cx) ** 2 + (y - cy) ** 2 < 14**2 for cx, cy in centers])
        image = 0.2 * torch.rand(3, 96, 96, generator=draw) + 0.6 * masks.any(0)
        return image, {"boxes": masks_to_boxes(masks), "labels": torch.ones(3, dtype=torch.int64), "masks": masks}


if __name__ == "__main__":
    discs = segkit.data.from_torchvision(Discs(), classes=["disc"])  # labels count from 1; 0 is the background
    train, val = segkit.data.split_dataset(discs, fraction=0.25, seed=0)
    settings = {"output_dir": "output/discs", "train.iterations": 20, "train.log_period": 10, "data.num_workers": 0}
    metrics = segkit.train("segkit://quickstart.yaml", overrides=settings, train_data=train, val_data=val, restart=True)
    print(segkit.evaluation.metrics_table(metrics))
