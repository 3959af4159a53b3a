"""Reading weights: segkit's own checkpoints and those of other frameworks."""
