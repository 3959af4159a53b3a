"""What readers of annotation files share.

================  ===============================================================
``text``          opens and reads text files, packed by gzip or not
``json_stream``   reads large JSON files item by item
``json_values``   reads small JSON files, checks single values
``categories``    reads the list ``categories`` of COCO's files
``file_errors``   errors of single files, raised or collected
``lost_counter``  counts annotations that a format has no use for
``masks``         masks of polygons and RLE
``shapes``        shapes of annotation tools, and their groups
================  ===============================================================
"""
