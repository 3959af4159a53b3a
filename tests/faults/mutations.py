"""Random changes of trees, texts and bytes, for fuzzing; all randomness comes from the argument ``draw``."""

import copy

ODD = [
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, -(2**70), 10**30, 10**400, 0.5, -0.0, 1e308, float("inf"),
    float("-inf"),
    float("nan"), "", " ", "a", "\0", "..", "/", "~", "~nobody", "name", "1 epoch", "-1 epoch", "1e99 epoch", "é☃",
    "\ud800",
    "x" * 5000, "(" * 50, "*", "[a-", [], {}, [[]], [{}], [None], {"name": None}, {"": {}}, {"name": "FPN"},
    {"format": "coco"},
    {"name": "SGD", "lr": []}, {"from_train": 2}, [1, "a", None, [2]], ["a"] * 50, [0] * 3000, [-1, -1], [1e308] * 2,
    {"a": {"b": {"c": {"d": [1]}}}}, "1e400", "0x10", "[", "{}", "!!python/none", "&a", "*a", "<<", "2024-01-01",
]  # fmt: skip


def deep(levels, inner=1):
    """Nested lists."""
    for _ in range(levels):
        inner = [inner]
    return inner


def containers_and_keys(tree, found=None):
    """All pairs (container, key) of a tree."""
    found = [] if found is None else found
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            containers_and_keys(tree[key], found)
    return found


def near(value, draw):
    """A different value of the same type, which passes the type checks."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice([0, 1, 2, 3, value + 1, value * 2, value * 1000, -value, value / 2, 2**31 - 1, 2**40, 2**62])
    if isinstance(value, float):
        return draw.choice([0.0, 1.0, 0.5, 2.0, value * 10, value / 1e6, -value, 1e-30, 1e300])
    if isinstance(value, list):
        return draw.choice([value[:-1], value * 2, value[::-1], value[:1] * 40, [near(one, draw) for one in value]])
    return value


def change(tree, draw, odd=ODD):
    """Changes one entry of a tree: replaces, removes, repeats or renames it, or copies another entry."""
    # Choose a section first, so that entries of small sections are changed as often.
    sections = [tree[key] for key in tree if isinstance(tree[key], (dict, list)) and tree[key]]
    found = (
        containers_and_keys(draw.choice(sections)) if sections and draw.random() < 0.8 else containers_and_keys(tree)
    )
    if not found:
        return
    container, key = draw.choice(found)
    other, other_key = draw.choice(containers_and_keys(tree))
    way = draw.randrange(9)
    if way >= 6:
        container[key] = near(container[key], draw)
    elif way <= 2:
        container[key] = copy.deepcopy(draw.choice(odd) if draw.random() < 0.95 else deep(draw.choice([20, 90, 400])))
    elif way == 3:
        del container[key]
    elif way == 4:
        container[key] = copy.deepcopy(other[other_key])
    elif isinstance(container, dict):
        container[draw.choice(["", "nmae", str(key).upper(), str(key)[:-1], 3, "name", "_BASE_"])] = container.pop(key)
    else:
        container.insert(key, copy.deepcopy(container[key]))


def mutated_text(text, draw, nasty):
    """Changes a text in up to five positions: inserts, replaces, removes or repeats characters."""
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        at, end = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
        way = draw.randrange(5)
        if way == 0:
            text = text[:at] + draw.choice(nasty) + text[at:]
        elif way == 1:
            lines = text.split("\n")  # replaces a value or a line
            row = draw.randrange(len(lines))
            key, colon, _ = lines[row].partition(": ")
            lines[row] = (key + colon if colon else "") + draw.choice(nasty)
            text = "\n".join(lines)
        elif way == 2:
            text = text[:at] + text[min(at + draw.randint(1, 30), len(text)) :]
        elif way == 3:
            character = chr(
                draw.choice([0, 9, 10, 32, 34, 35, 38, 42, 44, 58, 91, 123, 0x7F, 0x85, 0xFEFF, 0xD800, 0x1F600])
            )
            text = text[:at] + character + text[at + 1 :]
        else:
            text = text[:end] + "\n" + text[at : at + 80] + text[end:]
    return text


def mutated_bytes(text, draw):
    """Encodes a text; a few results are not UTF-8, have a byte order mark, or are cut off."""
    content = text.encode("utf-8", "surrogatepass")
    way = draw.randrange(60)
    if way == 0:
        return b"\xef\xbb\xbf" + content
    if way == 1:
        return text.encode(draw.choice(["utf-16", "utf-16-be", "utf-32"]), "surrogatepass")
    if way == 2:
        at = draw.randrange(len(content) + 1)
        return content[:at] + bytes(draw.randrange(256) for _ in range(4)) + content[at:]
    if way == 3:
        return content[: draw.randrange(len(content) + 1)]
    return content
