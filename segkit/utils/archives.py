"""Checks the CRC of files that ``torch.save`` wrote."""

from __future__ import annotations

import os
import zipfile


def damage(path: str | os.PathLike[str]) -> str | None:
    """What is damaged in a zip archive, as a short phrase; None if it is intact.

    torch writes a CRC-32 of every record into its files but does not check it on loading, so that a flipped bit becomes
    a different weight. This function reads the whole file and compares the CRCs, at about one gigabyte a second.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
    except Exception as error:  # zipfile raises a dozen types of errors for damaged headers
        return " ".join(str(error).split()) or type(error).__name__
    return None if record is None else f"the CRC of the record {record} is wrong"
