"""Loading of weights: segkit's checkpoints and those of torchvision and Detectron2."""
