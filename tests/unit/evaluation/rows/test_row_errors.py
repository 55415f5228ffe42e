"""Many rows with one fault are told in one line."""

import pickle

from pada_agent.core.errors import RowError
from pada_agent.evaluation.rows.row_errors import tell_alike


def unknown_label(line: int, value: str, file: str = "a.jsonl") -> RowError:
    return RowError(f"{file}:{line}", f"field 'label' is {value!r}, but the options are x, y", "label", repr(value))


def test_one_row_is_told_as_it_is() -> None:
    assert tell_alike([unknown_label(3, "z")]) == ["a.jsonl:3: field 'label' is 'z', but the options are x, y"]


def test_many_rows_are_one_line_with_their_number_the_first_places_and_other_values() -> None:
    told = tell_alike([unknown_label(n, value) for n, value in enumerate("zzqzw", 2)])
    assert told == [
        "a.jsonl:2: field 'label' is 'z', but the options are x, y (5 rows like this: 2, 3, 4, …; they also have 'q', 'w')"
    ]
    many = tell_alike([unknown_label(n, str(n)) for n in range(2000)])
    assert len(many) == 1 and "(2,000 rows like this: 0, 1, 2, …; " in many[0] and many[0].endswith("and 1994 more)")


def test_files_and_faults_are_told_apart_values_are_not() -> None:
    problems = [
        unknown_label(1, "z"),
        unknown_label(1, "z", file="b.jsonl"),
        RowError("a.jsonl:2", "row 'i7' has 3 values"),
        RowError("a.jsonl:3", "row 'i8' has 4 values"),
        RowError("a.jsonl:4", "row 'i8' is odd"),
    ]
    assert [told.partition(": ")[0] for told in tell_alike(problems)] == [
        "a.jsonl:1",
        "b.jsonl:1",
        "a.jsonl:2",
        "a.jsonl:4",
    ]


def test_an_error_of_a_row_travels_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(unknown_label(3, "z")))
    assert (str(copy), copy.where, copy.kind, copy.value) == ("a.jsonl:3: field 'label' is 'z', but the options are x, y", "a.jsonl:3", "label", "'z'")  # fmt: skip
