"""The report of runs: one HTML file without network."""
