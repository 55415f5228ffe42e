"""Divides the rows of each label among fewer strategies, so that fewer calls write them."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

LabelT = TypeVar("LabelT")
RowT = TypeVar("RowT")
_Edge = tuple[int, int]
"""A strategy and a label, by their positions."""
_Node = tuple[str, int]
"""A group or a label, by its position."""
_Forest = dict[_Node, set[_Node]]
"""The neighbors of each node."""


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
    forest: _Forest = {}
    for edge in sorted(sizes, key=lambda e: (-sizes[e], e)):
        path = _find_path(edge, forest)
        _add(forest, edge)
        if path is None:
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
        for e in [e for e in shrinking if not sizes[e]]:
            _remove(forest, e)
            del sizes[e]


def _add(forest: _Forest, edge: _Edge) -> None:
    group, label = _ends(edge)
    forest.setdefault(group, set()).add(label)
    forest.setdefault(label, set()).add(group)


def _remove(forest: _Forest, edge: _Edge) -> None:
    group, label = _ends(edge)
    forest[group].discard(label)
    forest[label].discard(group)


def _ends(edge: _Edge) -> tuple[_Node, _Node]:
    return ("group", edge[0]), ("label", edge[1])


def _count_emptied(shrinking: Sequence[_Edge], sizes: Mapping[_Edge, int]) -> int:
    """Number of cells that are empty once rows are taken from all of these, as many from each as the smallest has."""
    return Counter(sizes[e] for e in shrinking)[min(sizes[e] for e in shrinking)]


def _find_path(edge: _Edge, forest: _Forest) -> list[_Edge] | None:
    """The edges of the forest that lead from the edge's group to its label, in order, or None. There is one way at most."""
    start, goal = _ends(edge)
    came_from: dict[_Node, _Node | None] = {start: None}
    queue = deque([start])
    while queue and goal not in came_from:
        node = queue.popleft()
        for neighbor in forest.get(node, ()):
            if neighbor not in came_from:
                came_from[neighbor] = node
                queue.append(neighbor)
    if goal not in came_from:
        return None
    nodes, node = list[_Node](), goal
    while node:
        nodes.append(node)
        node = came_from[node]  # type: ignore[assignment]
    return [(a[1], b[1]) if a[0] == "group" else (b[1], a[1]) for a, b in pairwise(reversed(nodes))]
