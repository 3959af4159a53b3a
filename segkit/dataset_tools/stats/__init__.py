"""Statistics of data sets: sizes, overlaps, intensities, and the config lines that follow."""
