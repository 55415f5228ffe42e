"""Divides the rows of each label among fewer strategies, so that fewer calls write them."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

LabelT = TypeVar("LabelT")
RowT = TypeVar("RowT")
_Edge = tuple[int, int]
"""A strategy and a label, by their positions."""


def gather_labels(groups: Sequence[Mapping[LabelT, Sequence[RowT]]]) -> list[dict[LabelT, list[RowT]]]:
    """The same rows, with those of each label in as few groups as possible.

    Every group keeps its number of rows and gets only labels that it had, and every label keeps its rows. Where two groups share
    two labels, rows are exchanged until one of the four cells is empty (and likewise around longer cycles), so at most one cell
    per group and per label is left. Small cells are emptied first.

    Args:
        groups: source rows by label, for each strategy.
    """
    labels = list(dict.fromkeys(label for group in groups for label in group))
    numbers = {label: place for place, label in enumerate(labels)}
    sizes = {(g, numbers[label]): len(rows) for g, group in enumerate(groups) for label, rows in group.items() if rows}
    _cancel_cycles(sizes)
    rows_left = {label: iter([row for group in groups for row in group.get(label, ())]) for label in labels}
    return [
        {label: [next(rows_left[label]) for _ in range(n)] for label in labels if (n := sizes.get((g, numbers[label])))}
        for g in range(len(groups))
    ]


def _cancel_cycles(sizes: dict[_Edge, int]) -> None:
    """Shift rows around cycles until the cells that are not empty form a forest. Sums of groups and of labels stay the same."""
    forest: set[_Edge] = set()
    for edge in sorted(sizes, key=lambda e: (-sizes[e], e)):
        path = _find_path(edge, forest)
        if path is None:
            forest.add(edge)
            continue
        sides = [edge, *path[1::2]], path[::2]
        shrinking, growing = (
            sides if _count_emptied(sides[0], sizes) >= _count_emptied(sides[1], sizes) else sides[::-1]
        )
        n = min(sizes[e] for e in shrinking)
        for e in shrinking:
            sizes[e] -= n
        for e in growing:
            sizes[e] += n
        forest.add(edge)
        for e in [e for e in shrinking if not sizes[e]]:
            forest.discard(e)
            del sizes[e]


def _count_emptied(shrinking: Sequence[_Edge], sizes: Mapping[_Edge, int]) -> int:
    """Number of cells that are empty once rows are taken from all of these, as many from each as the smallest has."""
    return Counter(sizes[e] for e in shrinking)[min(sizes[e] for e in shrinking)]


def _find_path(edge: _Edge, forest: set[_Edge]) -> list[_Edge] | None:
    """The edges of the forest that lead from the edge's group to its label, in order, or None."""
    start, goal = ("group", edge[0]), ("label", edge[1])
    came_from: dict[tuple[str, int], tuple[str, int] | None] = {start: None}
    queue = deque([start])
    while queue and goal not in came_from:
        node = queue.popleft()
        for neighbor in _list_neighbors(node, forest):
            if neighbor not in came_from:
                came_from[neighbor] = node
                queue.append(neighbor)
    if goal not in came_from:
        return None
    nodes, node = list[tuple[str, int]](), goal
    while node:
        nodes.append(node)
        node = came_from[node]  # type: ignore[assignment]
    return [(a[1], b[1]) if a[0] == "group" else (b[1], a[1]) for a, b in pairwise(reversed(nodes))]


def _list_neighbors(node: tuple[str, int], forest: set[_Edge]) -> Iterator[tuple[str, int]]:
    kind, place = node
    for group, label in sorted(forest):
        if kind == "group" and group == place:
            yield "label", label
        elif kind == "label" and label == place:
            yield "group", group
