"""Builds the "precompiled_charsmap" of a Precompiled normalizer from a dictionary: a double array
(unit layout of darts-clone) that maps texts to places in a list of NUL-terminated replacements.
Used for tables and test files; real models bring their own."""
import struct


def build(mapping):
    """`mapping`: {text: replacement}; returns the bytes of the charsmap."""
    texts = b"\0"
    trie = {}
    for key, value in sorted(mapping.items()):
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += value.encode() + b"\0"
    units, used_bases, first_free = [0] * 512, set(), [1]
    taken = bytearray(512)
    taken[0] = 1

    def place(node):
        labels = sorted(node)
        start = first_free[0] & ~0xFF if len(labels) > 1 else first_free[0]
        base = max(start, 1)
        while True:
            if base + 512 > len(units):
                units.extend([0] * len(units))
                taken.extend(bytes(len(units) - len(taken)))
            if base not in used_bases and not any(taken[base ^ label] for label in labels):
                break
            base += 1
        used_bases.add(base)
        for label in labels:
            taken[base ^ label] = 1
        while taken[first_free[0]]:
            first_free[0] += 1
        return base

    stack = [(0, trie, 0)]
    while stack:
        position, node, label = stack.pop()
        base = place(node)
        offset = position ^ base
        assert offset < 1 << 21
        units[position] = offset << 10 | (1 << 8 if 0 in node else 0) | label
        for byte, child in node.items():
            if byte == 0:
                units[base] = 1 << 31 | child
            else:
                stack.append((base ^ byte, child, byte))
    while len(units) > 1 and units[-1] == 0 and not taken[len(units) - 1]:
        units.pop()
    units += [0] * (-len(units) % 256)  # a search may step to any place of the last block
    array = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(array)) + array + texts
