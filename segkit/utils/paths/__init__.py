"""Paths of the user: resolved, checked, with hints in errors if they do not exist.

=================  ==================================================================================
``resolve``        local paths and URLs to local files; folders and files to be written
``hints``          why one path cannot be used, and the nearest one that can
``missing_files``  which files of a list are missing in a folder, and what is there instead
``spellings``      comparing two spellings of a file name: slashes, case, Unicode form, escapes
``file_names``     names for files that segkit writes
=================  ==================================================================================
"""

from segkit.utils.paths.hints import nearest_existing, why_unusable
from segkit.utils.paths.resolve import (
    PACKAGE_PREFIX,
    PATHS,
    check_kind,
    local_path,
    output_file,
    output_folder,
    packaged_configs,
    prepare_folder,
)

__all__ = [
    "PACKAGE_PREFIX",
    "PATHS",
    "check_kind",
    "local_path",
    "nearest_existing",
    "output_file",
    "output_folder",
    "packaged_configs",
    "prepare_folder",
    "why_unusable",
]
