"""Packaging. The folder configs lies beside the package in a checkout, and inside the installed package."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="segkit",
    version="0.1.0",
    description="Instance segmentation on plain PyTorch: registries, a config file, a hook-based trainer. Nothing to compile.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["segkit", "segkit.*"]), "segkit.configs"],
    package_dir={"segkit.configs": "configs"},
    package_data={
        "segkit": ["py.typed"],
        "segkit.dataset_tools.gallery": ["page.*"],
        "segkit.report": ["page.*", "templates/*.html"],
        "segkit.report.gallery": ["*.html", "*.css", "*.js"],
        "segkit.configs": ["*.yaml", "*/*.yaml", "schema.json", "study_schema.json"],
    },
    entry_points={"console_scripts": ["segkit = segkit.cli.main:run"]},
    install_requires=[
        "torch>=2.11",
        "torchvision>=0.26",
        "fvcore",
        "iopath",
        "pycocotools>=2.0.8",
        "tabulate",
        "termcolor",
        "numpy",
        "pyyaml",
        "pillow>=10.1",
        "matplotlib",
        "tensorboard",
        "hotcoco>=1.2",
        "jinja2>=3",
        "markupsafe>=2",
        "tifffile>=2024.8.10",
    ],
    extras_require={
        "tiff": ["imagecodecs"],  # rare compressions of TIFF files: JPEG XL, LERC, JPEG of 12 bits
        "imagej": ["roifile"],  # regions of interest that ImageJ and Fiji save
        "microscopy": ["nd2>=0.8", "czifile", "zarr>=2.16"],  # ND2; CZI; Zarr and OME-Zarr
        "cells": ["scipy"],  # the evaluator Cells
        "pandas": ["pandas"],  # Detections.to_pandas
        "supervision": ["supervision>=0.25"],  # Detections.to_supervision
        "parquet": ["pyarrow"],  # tables of results as Parquet files
        "slides": ["tiffslide>=2", "openslide-python", "openslide-bin"],  # SVS and NDPI; the last two: MRXS
        "wandb": ["wandb>=0.31"],
        "mlflow": ["mlflow-skinny>=3", "sqlalchemy>=2", "alembic"],  # the last two: runs in a local database
        "trackio": ["trackio>=0.43"],
        "slurm": ["submitit>=1.5"],  # studies on a Slurm cluster
        "ray": ["ray[data]>=2.50"],  # studies and predictions on a Ray cluster
        "optuna": ["optuna>=4.5", "sqlalchemy>=2"],  # the search of a study, and its storage
        "test": [
            "pytest>=8",
            "pytest-xdist>=3",
            "hypothesis>=6",
            "jsonschema>=4",
            "timm>=1",
            "roifile",
            "scikit-image",
            "scipy",
            "zarr>=2.16",
            "tiffslide>=2",
            "wandb>=0.31",
            "mlflow-skinny>=3",
            "trackio>=0.43",
            "optuna>=4.5",
            "pyarrow",
        ],
        "dev": ["ruff", "mypy", "types-PyYAML", "types-tabulate"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.7", "mkdocstrings-python>=2"],
    },
)
