"""Questions about a database, answered by a query that is checked by running it."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import ClassVar

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import DatasetError
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.core.wording import agree
from pada_agent.evaluation.query_variations.derivation import Database, derive
from pada_agent.evaluation.query_variations.places import Asked
from pada_agent.evaluation.query_variations.questions import find_slip
from pada_agent.evaluation.rows.cells import to_nfc
from pada_agent.evaluation.rows.forms import Fields
from pada_agent.evaluation.sqlite.reader import MEMORY_BYTES, Failure, Result, SqliteReaders
from pada_agent.evaluation.task import ROUGH_QUESTION, DraftProblem, OpenQuestion, Task, Variation, verify_side_by_side
from pada_agent.evaluation.tasks.drafts import find_empty_field, keep_turns, tell_turns, whole_question
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.tasks.sql_databases import Databases
from pada_agent.evaluation.verifiers.sql_result import find_difference
from pada_agent.evaluation.verifiers.sql_text import (
    begins_as_query,
    extract_sql,
    find_changing,
    is_ordered,
    list_quoted,
    may_ask_clock,
    selects_constants,
    tidy_sql,
)

_OTHER_DIALECT = ("syntax error", "no such function", "unrecognized token")
"""What SQLite says about queries for other databases."""
N_VALUES = 3
"""Number of values of each column that a writer sees."""
MAX_OTHERS = 50
"""Maximum number of other rows that are tried for joining."""


class Sql(Task):
    """Text to SQL, scored by execution.

        {"question": "which rivers run through texas", "sql": "SELECT river_name FROM river WHERE traverse = 'texas'",
         "database": "geography.sqlite"}

    The student sees the tables of the database and the question, and writes one SELECT. It is right if it returns the
    same rows on the user's SQLite file as the row's own query does, in any order unless that query's outermost part
    sorts them (see `verifiers.sql_result` for what counts as the same). A query that fails is wrong, for the reason
    that SQLite gives.

    New rows start from the query. The teacher sees tables and values, and first writes a query, which has to run and
    return something, then the question that it answers. Two questions with the same query are two rows, because people
    ask in many words. Only the question must not repeat.
    """

    name: ClassVar[str] = "sql"
    fields: Fields = MappingProxyType(
        {"question": ("question",), "answer": ("sql", "query", "answer"), "database": ("database", "db_id", "db")}
    )
    max_new_tokens = 192
    variety = "Each new query asks the database for something else."
    stop = (";\n",)
    reads_database = True
    makes_answers = True
    compares_answers = True
    turns_on_a_word = True
    default_instruction: ClassVar[str] = "Write one SQLite query that answers the question."

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self._readers = SqliteReaders(seconds=config.query_seconds)
        self._databases = Databases(config.database, self._readers)
        self._remember_result = lru_cache(maxsize=1024)(self._readers.query)
        self._find_clock = lru_cache(maxsize=1024)(self._readers.find_clock)

    def settle(self, files: Sequence[Sequence[RawRow]]) -> list[Settled]:
        """See `Task.settle`. Also refuses rows about several databases if the student would see the tables of none."""
        settled = super().settle(files)
        if not self.config.show_tables and not self._databases.is_fixed:
            paths = list(dict.fromkeys(self.look_at(files, settled, self._databases.find)))
            if len(paths) > 1:
                raise DatasetError(
                    f"task.show_tables is false, but the rows are about several databases ({paths[0].name}, {paths[1].name}"
                    f"{', …' if len(paths) > 2 else ''}): the student could not know which one is meant. Set it to true,"
                    " or use only rows about one database"
                )
        return settled

    def find_form(self, rows: Sequence[RawRow]) -> Settled:
        """Ignores a column of parse trees that has the name of one with queries: in Spider, `sql` next to `query`."""
        names = () if "answer" in self.config.columns else self.fields["answer"]
        trees = {name for name in names if all(isinstance(row.fields.get(name), Mapping) for row in rows)}
        plain = [
            row.model_copy(update={"fields": {n: v for n, v in row.fields.items() if n not in trees}}) for row in rows
        ]
        return super().find_form(plain if trees else rows)

    def read(self, row: RawRow) -> Example:
        reader = self.reader(row)
        database = self._databases.find(reader)
        question, sql = reader.text("question"), tidy_sql(reader.verbatim("answer"))
        self._check_reference(reader, database, sql)
        return reader.with_turns(self._build(question, sql, database, reader.row_id(question, sql)))

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """Run the query. Any response gets a verdict, whatever it contains."""
        sql = extract_sql(prediction.response)
        wanted = self._run_reference(self._database_of(example), example.answer)
        if isinstance(wanted, Failure):
            reason = f"the row's own query fails: {wanted.reason}"
            return Verdict(example_id=example.id, value="unscored", extracted=sql, reason=reason)
        found = self._run(sql, example)
        if isinstance(found, Failure) and found.is_undecided:
            return Verdict(example_id=example.id, value="unscored", extracted=sql, reason=found.reason)
        problem = self._find_problem(found, example, wanted)
        cut = "; the response was cut off" if problem and prediction.truncated else ""
        return Verdict(
            example_id=example.id,
            value="wrong" if problem else "correct",
            extracted=sql,
            reason=(problem or "") + cut,
        )

    def verify_all(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Verdict]:
        """Runs one query per core at the same time, as long as memory is free."""
        try:
            return verify_side_by_side(self, examples, predictions, memory_bytes=MEMORY_BYTES)
        finally:
            self._readers.rest()

    def draft_fields(self) -> dict[str, str]:
        return {
            "query": "one SELECT for SQLite, with tables, columns and values that the database has",
            "question": "the question that this query answers, as somebody asks it who does not know the tables",
        }

    @property
    def question_field(self) -> str:
        return "question"

    def show(self, example: Example) -> dict[str, str]:
        return {"query": example.answer, "question": example.reference["question"], **tell_turns(example)}

    def about(self, examples: Sequence[Example]) -> str:
        """The description, and the tables of the databases in question."""
        paths = list(dict.fromkeys(map(self._database_of, examples))) or self._databases.list_fixed()
        tables = [
            f"The tables of {path.name if len(paths) > 1 else 'the database'}:\n{self._databases.describe(path)}"
            for path in paths
        ]
        return "\n\n".join(filter(None, [self.config.description, *tables]))

    def asked(self, example: Example) -> str:
        return whole_question(example)

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        """Some values from the tables that the source is about, different ones for each row. A writer that sees none invents them."""
        del confusions
        database = self._database_of(source)
        found = self._run_reference(database, source.answer)
        tables = found.tables if isinstance(found, Result) else ()
        values = self._databases.draw_values(database, tables, n=N_VALUES, rng=rng)
        return ({"values": values} if values else {}) | tell_turns(source)

    def vary_answer(self, source: Example, others: Sequence[Example], rng: Random) -> Variation:
        """A query derived from the row's own and from those of `others`, with a rough question. If none is found, the row's own."""
        path, own = self._database_of(source), _asked(source)
        drawn = [others[i] for i in rng.sample(range(len(others)), min(MAX_OTHERS, len(others)))]
        joined = [_asked(other) for other in drawn if self._database_of(other) == path]
        made = derive(own, joined, self._open(path), rng) or own
        return Variation(fields={"query": made.sql}, rough_question=made.question)

    def _open(self, path: Path) -> Database:
        return Database(
            tables=self._databases.tables(path),
            list_rows=partial(self._databases.list_rows, path),
            run=partial(self._run_reference, path),
            find_emptiness=partial(self._find_emptiness, path),
        )

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """Stays on the source's database. Whether the query runs is checked by `verify_label`.

        If the wording of a rough question asks for something else, the rough question is kept, because what code made
        is right.
        """
        draft = {**draft, **({"query": given["query"]} if "query" in given else {})}
        problem = find_empty_field(draft, self.draft_fields())
        if problem:
            return problem
        question, sql = to_nfc(draft["question"].strip()), extract_sql(draft["query"])
        if not begins_as_query(sql):
            return DraftProblem(reason="field 'query' is not a SELECT")
        if begins_as_query(extract_sql(question)):
            return DraftProblem(reason="field 'question' holds a query: ask in plain words")
        rough = to_nfc(given.get(ROUGH_QUESTION, question))
        if rough != question and (slip := find_slip(question, rough, sql)):
            if rough == _asked(source).question:
                return DraftProblem(reason=slip)
            question = rough
        return keep_turns(source, self._build(question, sql, self._database_of(source), example_id))

    def verify_label(self, example: Example) -> Verdict:
        """The query must run, read a table, and return something that could also be different."""
        found = self._run_reference(self._database_of(example), example.answer)
        problem = (
            found.reason
            if isinstance(found, Failure)
            else self._find_emptiness(self._database_of(example), example.answer, found)
        )
        return Verdict(
            example_id=example.id,
            value="wrong" if problem else "correct",
            extracted=example.answer,
            reason=f"the query: {problem}" if problem else "the query runs and gives something",
        )

    def pose(self, example: Example, rng: Random) -> OpenQuestion:
        del rng
        return OpenQuestion(question=whole_question(example), expects="one SELECT for SQLite, on one line")

    def list_doubts(self, examples: Sequence[Example]) -> list[str]:
        """What cannot be read in the databases, and reference queries that leave open what is right."""
        notes = [
            note for path in dict.fromkeys(map(self._database_of, examples)) for note in self._databases.notes(path)
        ]
        results = [self._run_reference(self._database_of(example), example.answer) for example in examples]
        n_empty = sum(isinstance(found, Result) and not found.rows for found in results)
        if n_empty:
            found = agree(n_empty, "1 query returns", f"{n_empty:,} queries return")
            notes.append(f"{found} no rows, so any query that returns none counts as right there")
        arbitrary = [e for e in examples if self._open(self._database_of(e)).is_arbitrary(e.answer)]
        if arbitrary:
            found = agree(len(arbitrary), "1 query returns", f"{len(arbitrary):,} queries return")
            notes.append(
                f"{found} the first of several equal rows, or rows without a value to sort by"
                f" ({_asked(arbitrary[0]).question!r}). Any other choice counts as wrong there"
            )
        return notes

    def _run_reference(self, database: Path, sql: str) -> Result | Failure:
        """The result of a query that is asked for again and again. What a busy machine did not run is tried again."""
        found = self._remember_result(database, sql)
        is_undecided = isinstance(found, Failure) and found.is_undecided
        return self._readers.query(database, sql) if is_undecided else found

    def _run(self, sql: str, example: Example) -> Result | Failure:
        if not begins_as_query(sql):
            return Failure(reason="no query: a SELECT is expected")
        return self._readers.query(self._database_of(example), sql)

    def _find_problem(self, found: Result | Failure, example: Example, wanted: Result) -> str | None:
        if isinstance(found, Failure):
            return found.reason
        return find_difference(found, wanted, ordered=is_ordered(example.answer))

    def _check_reference(self, reader: RowReader, database: Path, sql: str) -> None:
        """Refuse a row whose own query is missing, fails, or returns something different each time.

        Raises:
            DatasetError: names the row and SQLite's reason.
        """
        inner = extract_sql(sql)
        alone = ". Write the query alone, without a fence, a label or other words" if inner != sql else ""
        if not begins_as_query(sql):
            reader.fail("answer", f"a query begins with SELECT, WITH or VALUES{alone}")
        found = self._run_reference(database, sql)
        if isinstance(found, Failure):
            is_other = any(text in found.reason for text in _OTHER_DIALECT) and not alone
            dialect = f". It has to be in the dialect of SQLite {sqlite3.sqlite_version}" if is_other else ""
            reader.fail("answer", f"on {database} it fails: {found.reason}{alone}{dialect}")
        if misspelled := _find_misspelled(sql, found):
            reader.fail("answer", f"on {database} it gives the text {misspelled!r} itself: no column has that name")
        if changing := self._find_changing(database, sql, found):
            reader.fail(
                "answer",
                f"{changing} gives something else each time: nothing could be compared with it. Write a value in its place, such"
                " as a date",
            )

    def _find_changing(self, database: Path, sql: str, found: Result) -> str | None:
        """What makes a query return something else each time, such as chance or the clock. None if nothing does."""
        changing = find_changing(found.functions)
        return changing or (self._find_clock(database, sql) if may_ask_clock(found.functions) else None)

    def _find_emptiness(self, database: Path, sql: str, found: Result) -> str | None:
        """Why there is nothing to learn from a query, or None."""
        if not found.tables:
            return "reads no table"
        if selects_constants(sql):
            return "gives what is written in it, nothing of the database"
        if self._find_changing(database, sql, found):
            return "gives something else each time"
        values = {value for row in found.rows for value in row}
        if misspelled := _find_misspelled(sql, found):
            return f"gives the text {misspelled!r} itself: no column has that name"
        if not found.rows or values == {None}:
            return "gives nothing: the values in it must be ones that the database has"
        if values == {0}:
            return "gives 0: the values in it must be ones that the database has"
        return None

    def _build(self, question: str, sql: str, database: Path, example_id: str) -> Example:
        tables = self._databases.describe(database, n_values=self.config.sample_values)
        asked = f"{tables}\n\n{question}" if self.config.show_tables else question
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction or self.default_instruction, asked),
            answer=sql,
            reference={
                "question": question,
                "database": str(database),
                "database_sha256": self._databases.fingerprint(database)[:12],
            },
        )

    def _database_of(self, example: Example) -> Path:
        """The row's database.

        Raises:
            DatasetError: it is no longer the file that the row was read with, so answers could not be compared with earlier ones.
        """
        path = Path(example.reference["database"])
        with suppress(OSError):  # told by whoever opens it
            if not self._databases.fingerprint(path).startswith(example.reference.get("database_sha256", "")):
                raise DatasetError(
                    f"{path}: the database has changed since its rows were read. Put it back as it was, or start a new run, which"
                    " reads it again"
                )
        return path


def _asked(example: Example) -> Asked:
    return Asked(str(example.reference["question"]), example.answer)


def _find_misspelled(sql: str, found: Result) -> str | None:
    """A name in double quotes that nothing has: SQLite takes it for a text, and returns it in every row."""
    columns = [set(values) for values in zip(*found.rows, strict=True)]
    return next((name for name in sorted(list_quoted(sql)) if {name} in columns), None)
