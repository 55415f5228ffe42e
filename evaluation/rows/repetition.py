"""Finds rows that occur twice: within a file, with a different answer, or in two files. Rows are named by file and line, not by id.
The order of a row's options makes no difference.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby

from pada_agent.core.records import Example
from pada_agent.evaluation.rows.findings import Pair
from pada_agent.evaluation.rows.reading import ReadFile, name_row
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.text_units import Units, signs_of

Asked = tuple[Units | str, ...]
"""What a row asks, without case, white space and the punctuation around words: its earlier turns, prompt and options."""


def drop_repeated(file: ReadFile, task: Task) -> tuple[ReadFile, list[Pair]]:
    """The file without rows that repeat an earlier row's question and answer, whatever their ids.

    If rows became several examples, because every answer of a conversation is learned, only whole conversations count: other ones
    may begin with the same greeting.
    """
    first: dict[tuple[str, ...], str] = {}
    kept: list[tuple[Example, str]] = []
    repeated = []
    for place, pairs in _list_rows(file):
        contents = tuple(task.sort_options(e).model_dump_json(exclude={"id", "provenance"}) for e, _ in pairs)
        if contents in first:
            repeated.append(Pair(where=place, other=first[contents]))
        else:
            first[contents] = place
            kept += pairs
    return file._replace(examples=[e for e, _ in kept], wheres=[w for _, w in kept]), repeated


def _list_rows(file: ReadFile) -> Iterator[tuple[str, list[tuple[Example, str]]]]:
    """The place of each row, and the examples that were made of it, each with its own place."""
    pairs = zip(file.examples, file.wheres, strict=True)
    if not file.expanded:
        yield from ((where, [(example, where)]) for example, where in pairs)
        return
    for place, made in groupby(pairs, lambda pair: name_row(pair[1])):
        yield place, list(made)


def find_contradictions(file: ReadFile, task: Task, *, exactly: bool = False) -> list[Pair]:
    """Rows that ask the same as an earlier row but have a different right answer, each paired with the first such row.

    Args:
        exactly: whether case, white space and punctuation make a difference.
    """
    first: dict[Hashable, tuple[str, str]] = {}
    found = []
    for example, where in zip(map(task.sort_options, file.examples), file.wheres, strict=True):
        asked = _dump_asked(example) if exactly else (_read_asked(example), example.system)
        answer, before = first.setdefault(asked, (task.gold(example), where))
        if task.gold(example) != answer:
            found.append(Pair(where=where, other=before))
    return found


def count_questions(file: ReadFile, task: Task) -> int:
    """Number of different questions in the file."""
    return len({_dump_asked(task.sort_options(example)) for example in file.examples})


def drop_shared(file: ReadFile, others: Sequence[ReadFile], task: Task) -> tuple[ReadFile, list[Pair]]:
    """The file without rows that also occur in `others`, ignoring case, white space and the punctuation around words, and these rows.

    Questions that follow different earlier turns, are asked about different passages, or have different options are not
    the same. System turns count for questions that a file asks with several of them, which then tell its rows apart.
    """
    asked = [_list_asked(one, task) for one in (file, *others)]
    told_apart = {question for one in asked for question in _find_told_apart(one)}

    def list_keys(at: int) -> list[tuple[Hashable, str]]:
        keys = [key if key[0] in told_apart else key[0] for key in asked[at]]
        return list(zip(keys, (file, *others)[at].wheres, strict=True))

    first: dict[Hashable, str] = {}
    for at in range(1, len(asked)):
        for key, where in list_keys(at):
            first.setdefault(key, where)
    own = list_keys(0)
    kept = [i for i, (key, _) in enumerate(own) if key not in first]
    rest = file._replace(examples=[file.examples[i] for i in kept], wheres=[file.wheres[i] for i in kept])
    return rest, [Pair(where=where, other=first[key]) for key, where in own if key in first]


def _dump_asked(example: Example) -> str:
    return example.model_dump_json(include={"system", "history", "prompt", "options"})


def _read_asked(example: Example) -> Asked:
    texts = [*(turn.content for turn in example.history), example.prompt, *example.options]
    return tuple(signs_of(text) or text for text in texts)


def _list_asked(file: ReadFile, task: Task) -> list[tuple[Asked, str | None]]:
    """What each row asks, and its system turn."""
    return [(_read_asked(task.sort_options(example)), example.system) for example in file.examples]


def _find_told_apart(asked: Sequence[tuple[Asked, str | None]]) -> set[Asked]:
    """What a file's rows ask with several system turns."""
    systems: dict[Asked, set[str | None]] = {}
    for question, system in asked:
        systems.setdefault(question, set()).add(system)
    return {question for question, found in systems.items() if len(found) > 1}
