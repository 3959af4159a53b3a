"""Parts shared by the components: boxes, matching, sampling, pooling, losses. Functions first, modules second."""
