"""The HTML page of ``segkit dataset show``: images, objects as SVG, filters."""
