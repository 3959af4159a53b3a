"""Models, made of components from the registries."""
