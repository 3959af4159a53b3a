"""The gallery of a report: ground truth beside detections, with a threshold slider.

============  ========================================================================
``groups``    which images and objects are shown
``records``   what the page knows about an image: labels, boxes, scores, pairs
``scenes``    a picture of a window of an image and the outlines there
``builder``   opens and draws the images, and keeps what fits into the page
``page``      the HTML fragment with its data
============  ========================================================================

``matching.js`` repeats COCO's matching in the page, ``drawing.js`` draws, ``viewport.js`` zooms, ``figures.js`` holds the
pictures of the groups, ``lightbox.js`` the enlarged one, ``gallery.js`` the toolbar and the keys.
"""

from segkit.report.gallery.groups import GalleryGroup, ImageScore, image_groups, image_score
from segkit.report.gallery.page import GALLERY_CSS, GALLERY_JS, gallery

__all__ = ["GALLERY_CSS", "GALLERY_JS", "GalleryGroup", "ImageScore", "gallery", "image_groups", "image_score"]
