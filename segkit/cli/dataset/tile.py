"""``segkit dataset tile``: cuts large images into a data set of tiles."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.dataset.arguments import add_skip_unreadable, add_source, add_writable
from segkit.cli.parser import Parser

DESCRIPTION = (
    "Cut the images of a data set into overlapping tiles, with their objects, and write them as a data set of their own, "
    "with a map back to the images (tiles.json). Large TIFF, Zarr and slide files are read tile by tile."
)
EXAMPLES = """
segkit dataset tile my_data --output my_tiles
segkit dataset tile my_data --output my_tiles --size 512 --overlap 64 --min-visibility 0.2
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit dataset tile``."""
    parser = Parser(DESCRIPTION, EXAMPLES, prog)
    add_source(parser)
    parser.add_argument("--output", metavar="DIR", required=True, help="a new or empty folder")
    parser.add_argument("--size", metavar="N", type=int, default=1024, help="side of a tile in pixels (default: 1024)")
    parser.add_argument(
        "--overlap", metavar="N", type=int, default=128, help="pixels that neighbours share at least (default: 128)"
    )
    parser.add_argument(
        "--min-visibility", metavar="X", type=float, default=0.0,
        help="share of its area that an object must have in a tile, 0 to 1 (default: 0)",
    )  # fmt: skip
    parser.add_argument("--skip-empty", action="store_true", help="write no tiles without objects")
    add_writable(parser, "format to write (default: coco)", default="coco")
    add_skip_unreadable(parser)
    planes = parser.add_argument_group("image files that hold several planes (as data.planes)")
    planes.add_argument("--page", metavar="N", type=int, help="index of the page, from 0")
    planes.add_argument("--time", metavar="N", type=int, help="index of the time point, from 0")
    planes.add_argument("--z", metavar="N", help="index of the z plane, from 0, or max or mean")
    planes.add_argument("--scene", metavar="N", type=int, help="index of the scene, from 0")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if options.z is not None and options.z not in ("max", "mean"):
        if not options.z.isdecimal():
            parser.error(f"--z: expected an index from 0, max or mean; got '{options.z}'")
        options.z = int(options.z)
    return options


def main(options: argparse.Namespace) -> None:
    """Writes the tiles and prints what became of the objects."""
    from segkit.dataset_tools.tile import TileOptions, tile_dataset
    from segkit.utils.images import Planes

    cut = TileOptions(
        (options.size, options.size),
        options.overlap,
        options.min_visibility,
        not options.skip_empty,
        Planes(options.page, options.time, options.z, options.scene),
    )
    report = tile_dataset(
        options.data,
        options.output,
        cut,
        to=options.to,
        format=options.format,
        skip_unreadable=options.skip_unreadable,
    )
    print("\n".join(report.lines()))
