"""What readers of annotation files share.

===================  ==========================================================================
``text_file``        opens text files, packed by gzip or not
``annotation_text``  reads small text and JSON files, with bounds on their size
``json_stream``      reads large JSON files item by item
``json_values``      checks single JSON values, and shows them in messages
``categories``       reads the list ``categories`` of COCO's files
``file_errors``      errors of single files, raised or collected
``lost_counter``     counts annotations that a format has no use for
``masks``            masks of polygons and RLE
``shapes``           shapes of annotation tools, and their groups
===================  ==========================================================================
"""
