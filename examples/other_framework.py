"""Evaluate another framework's predictions: from a function, or from a COCO results file."""

import json

import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

import segkit
from segkit.evaluation import evaluate_predictions, metrics_table

if __name__ == "__main__":
    torch.manual_seed(0)
    data = segkit.data.Synthetic(num_images=2, image_size=(96, 96), max_objects=12)
    # torchvision's model, here without weights: it takes floats, and returns dictionaries of boxes, labels, scores, masks.
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=5, min_size=96).eval()
    metrics = segkit.evaluate(lambda images: theirs([image / 255 for image in images]), data)
    print("torchvision's model, not trained:", metrics_table(metrics, data.classes), sep="\n")

    # A COCO results file, here of the ground truth itself, each object a little to the right.
    results = []
    for index, image_id in enumerate(data.image_ids):
        for item in data.ground_truth(index, data.load(index)):
            x, y, width, height = item["bbox"]
            category = data.category_ids[item["label"]]
            results.append(
                {"image_id": image_id, "category_id": category, "bbox": [x + 1, y, width, height], "score": 1.0}
            )
    with open("results.json", "w") as file:
        json.dump(results, file)
    print("a results file:", metrics_table(evaluate_predictions("results.json", data), data.classes), sep="\n")
