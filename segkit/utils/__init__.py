"""Helpers that do not depend on the rest of segkit: files, images, devices, errors.

======================  =====================================================================
``errors``              SegkitError, and suggestions for its messages
``paths``               paths of the user; names of files to be written
``images``              image files, read and written
``components``          how a registry reads and calls constructors
``device``              the device and the precision of a run
``distributed``         several processes that train one model
``seeding``             the seeds of all random streams
``logging``             messages on the terminal and in ``log.txt``
``streams``, ``cli``    stdout and stderr; exit statuses of the command line tools
``atomic``              files written completely or not at all
``archives``            the CRC of files of ``torch.save``
``lazy``                imports at first use
``out_of_memory``       errors that mean "out of memory"
``parameter_patterns``  shell patterns over names of parameters
``requirements``        the packages that segkit needs
``garbage``             Python's garbage collection, paused
======================  =====================================================================
"""
