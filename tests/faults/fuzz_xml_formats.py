"""Mutated data sets of the formats in XML: CVAT and VOC."""

import functools
import re

import numpy as np
from fuzz_annotations import ODD_VALUES
from fuzz_helpers import FILE_NAMES, WORDS, H, W, damaged, image_bytes, one_word, png, write
from mutations import mutated_bytes, mutated_text

XML_NASTY = [
    "<!DOCTYPE a>", '<!DOCTYPE a [<!ENTITY b "cccc"><!ENTITY d "&b;&b;">]>', '<!ENTITY x SYSTEM "file:///etc/passwd">',
    "&b;", "&#0;", "&#x110000;", "&amp;", "<![CDATA[", "]]>", "<a>" * 50_000, "<" * 100, "<!--", "-->", "<?x?>", "\0",
    "</object>", "<object>", "<image>", "</image>", '<image id="1">', "<track/>", "<track id='0'/>", "<part>", "</annotation>",
    "<x:y/>", "xmlns:x='y'", "\ufffe", "<a b='c' b='d'/>", "x" * 100_000, "<a " + "b" * 5000 + "='1'/>",
    '<?xml version="1.0" encoding="utf-16"?>', '<?xml version="1.0" encoding="shift_jis"?>',
]  # fmt: skip

CVAT = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>1</id><subset>train</subset><labels><label><name>a</name></label>
<label><name>b</name></label></labels></task></meta>
<image id="0" name="a.png" width="{W}" height="{H}" task_id="1">
<polygon label="a" points="1.0,2.0;10.0,2.0;10.0,12.5" group_id="1" z_order="0"></polygon>
<box label="b" xtl="1.0" ytl="2.0" xbr="12.0" ybr="15.0" rotation="30.0"/>
<mask label="a" rle="1, 2, 4, 1" left="10" top="3" width="4" height="2" group_id="1"/>
<ellipse label="b" cx="10" cy="11" rx="5" ry="4" rotation="10"/><polyline label="a" points="1,2;3,4"/></image>
</annotations>"""


def cvat(draw, root):
    way = draw.randrange(4)
    text = CVAT
    if way == 0:
        text = mutated_text(text, draw, XML_NASTY)
    elif way == 1:
        text = one_word(text, draw, r'(?<==")[^"]*(?=")')
    elif way == 2:
        text = text.replace("a.png", draw.choice(FILE_NAMES).replace("<", "").replace("\0", "&#0;"))
    else:
        odd = [str(value) for value in ODD_VALUES if isinstance(value, (int, float))]
        text = re.sub(r'(?<==")[\d.]+(?=")', lambda m: draw.choice(odd) if draw.random() < 0.1 else m[0], text)
    write(root / "annotations.xml", mutated_bytes(text, draw))
    write(root / "images/a.png", image_bytes())
    return {"xml": str(root), "boxes": draw.choice(["box", "mask"])}


VOC = f"""<annotation><folder>x</folder><filename>a.png</filename><size><width>{W}</width><height>{H}</height><depth>3</depth>
</size><segmented>1</segmented>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>15</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
<object><name>dog</name><difficult>1</difficult><bndbox><xmin>15</xmin><ymin>4</ymin><xmax>20</xmax><ymax>9</ymax></bndbox></object>
</annotation>"""


@functools.lru_cache
def voc_masks():
    objects = np.zeros((H, W), np.uint8)
    objects[3:15, 2:12], objects[3:9, 14:20], objects[20:] = 1, 2, 255
    classes = np.select([objects == 1, objects == 2, objects == 255], [8, 12, 255]).astype(np.uint8)
    return png(objects), png(classes)


def voc(draw, root):
    objects, classes = voc_masks()
    text, listed = VOC, "a\n"
    way = draw.randrange(6)
    if way == 0:
        text = mutated_text(text, draw, XML_NASTY)
    elif way == 1:
        text = one_word(text, draw, r"(?<=>)[^<\n]+(?=<)")
    elif way == 2:
        listed = draw.choice(FILE_NAMES) + "\n" if draw.random() < 0.5 else mutated_text("a\na 1\n\n", draw, FILE_NAMES)
    elif way == 3:
        objects = damaged(objects, draw)
    elif way == 4:
        classes = damaged(classes, draw)
    else:
        write(
            root / "labelmap.txt",
            mutated_text("background:0,0,0::\ncat:1,2,3::\ndog:4,5,6::\n", draw, [*WORDS, ":", ","]),
        )
    write(root / "Annotations/a.xml", mutated_bytes(text, draw) if way < 2 else text)
    write(root / "ImageSets/Main/train.txt", listed)
    write(root / "JPEGImages/a.png", image_bytes())
    write(root / "SegmentationObject/a.png", objects)
    write(root / "SegmentationClass/a.png", classes)
    arguments = {"void": draw.choice(["ignore", "background"]), "difficult": draw.choice(["crowd", "object"])}
    return {"root": str(root), **({"split": "train"} if draw.random() < 0.7 else {}), **arguments}
