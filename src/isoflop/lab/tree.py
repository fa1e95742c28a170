"""Texts that begin alike as one sequence in which what they share stands once: prefix trees.

A position sees those before it in its own text and no others, so its state is that of reading the
text alone.

Shapes: W positions of a tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Tree:
    """token_W: what stands at each position; depth_W: how many tokens stand before it in its
    text; sees_WW: which positions (second axis) each one sees, itself included; paths: the
    positions of each text."""

    token_W: NDArray[np.uint8]
    depth_W: NDArray[np.int64]
    sees_WW: NDArray[np.bool_]
    paths: dict[int, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.token_W)


def plant(texts: Mapping[int, NDArray[np.uint8]], *, most: int) -> list[Tree]:
    """Join texts at what they begin with, in trees of at most `most` positions.

    A text that is longer makes a tree of its own.
    """
    trees, part = [], []
    used, before = 0, np.empty(0, np.uint8)
    for k in sorted(texts, key=lambda k: texts[k].tobytes()):
        more = len(texts[k]) - _shared(before, texts[k])
        if part and used + more > most:
            trees.append(_join(texts, part))
            part, used, more = [], 0, len(texts[k])
        part.append(k)
        used, before = used + more, texts[k]
    return [*trees, _join(texts, part)] if part else []


def _join(texts: Mapping[int, NDArray[np.uint8]], order: Sequence[int]) -> Tree:
    """One tree of the texts `order`, which are sorted."""
    room = sum(len(texts[k]) for k in order)
    token_W, depth_W = np.empty(room, np.uint8), np.empty(room, np.int64)
    sees_WW = np.zeros((room, room), bool)
    paths: dict[int, NDArray[np.int64]] = {}
    used, before, path = 0, np.empty(0, np.uint8), np.empty(0, np.int64)
    for k in order:
        text = texts[k]
        shared = _shared(before, text)
        new = slice(used, used + len(text) - shared)
        path = np.concatenate([path[:shared], np.arange(new.start, new.stop)])
        token_W[new] = text[shared:]
        depth_W[new] = np.arange(shared, len(text))
        sees_WW[new, path[:shared]] = True
        sees_WW[new, new] = np.tri(len(text) - shared, dtype=bool)
        paths[k], used, before = path, new.stop, text
    return Tree(
        token_W=token_W[:used], depth_W=depth_W[:used], sees_WW=sees_WW[:used, :used], paths=paths
    )


def _shared(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """How many tokens two texts begin with alike."""
    least = min(len(a), len(b))
    differ = a[:least] != b[:least]
    return int(differ.argmax()) if differ.any() else least
