"""Whether a file of ``torch.save`` is as it was written."""

from __future__ import annotations

import os
import zipfile


def damage(path: str | os.PathLike[str]) -> str | None:
    """What is wrong with a zip archive, in a few words; None where nothing is.

    torch writes a CRC-32 of every record into its files, and does not look at it when it loads them: a weight of which a
    bit has flipped comes back as another weight. Here the whole file is read and compared, about a second a gigabyte.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
    except Exception as error:  # of damaged headers zipfile makes errors of a dozen kinds
        return " ".join(str(error).split()) or type(error).__name__
    return None if record is None else f"the record {record} is not as it was written"
