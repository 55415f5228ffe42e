"""Finds and describes the SQLite files that rows are about."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random

from pada_agent.core.errors import ConfigError, DatasetError, RowError
from pada_agent.core.machine import hash_file
from pada_agent.evaluation.rows.cells import to_nfc
from pada_agent.evaluation.sqlite.reader import Column, Description, Failure, SqliteReaders, Table, Value
from pada_agent.evaluation.tasks.row_reader import RowReader

FORMS = ("{0}", *(form + end for form in ("{0}", "{0}/{0}") for end in (".sqlite", ".sqlite3", ".db")))
"""The ways in which a row may name a file. Spider and BIRD have a folder for each."""
MAGIC = b"SQLite format 3\0"
MAX_CHARACTERS_OF_VALUE = 40
N_VALUES_READ = 50
"""Number of values of each column to choose from."""
MAX_ROWS_LISTED = 2000
MAX_NOTES = 8
RESERVED = frozenset(
    {
        "add",
        "all",
        "alter",
        "and",
        "as",
        "between",
        "case",
        "check",
        "collate",
        "commit",
        "constraint",
        "create",
        "default",
    }
    | {
        "delete",
        "distinct",
        "drop",
        "else",
        "escape",
        "except",
        "exists",
        "foreign",
        "from",
        "group",
        "having",
        "in",
        "index",
    }
    | {
        "insert",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "limit",
        "not",
        "notnull",
        "null",
        "on",
        "or",
        "order",
        "primary",
    }
    | {
        "references",
        "returning",
        "select",
        "set",
        "table",
        "then",
        "to",
        "transaction",
        "union",
        "unique",
        "update",
        "using",
    }
    | {"values", "when", "where"}
)
"""Words that cannot be names in SQLite unless they are quoted."""


class Databases:
    """The databases of a run. Each is found and examined once. Thread-safe."""

    def __init__(self, setting: str, reader: SqliteReaders) -> None:
        """Nothing is examined yet.

        Args:
            setting: the value of `task.database`: a file for all rows, or the folder that contains the rows' files.
        """
        self._setting = setting
        self._reader = reader
        self._read = lru_cache(maxsize=256)(self._read_description)
        self.fingerprint = lru_cache(maxsize=256)(hash_file)
        self.list_rows = lru_cache(maxsize=256)(self._list_rows)
        self._check = lru_cache(maxsize=256)(self._find_problem)

    def find(self, row: RowReader) -> Path:
        """The row's database.

        Raises:
            ConfigError: `task.database` is not a database.
            DatasetError: the row names none, another one than the settings name for all rows, or something that does
                not exist or is not a database.
        """
        if self.is_fixed:
            path = Path(self._setting)
            if problem := self._check(path):
                raise ConfigError(f"task.database: {path} {problem}")
            self._keep_to(path, row)
            return path
        if not row.has("database"):
            raise RowError(
                row.where,
                "no database. Set task.database to the SQLite file that all rows are about, or name one in each row, in a"
                " column 'database'",
            )
        path = self._find_named(row)
        if problem := self._check(path):
            row.fail("database", f"{path} {problem}")
        return path

    @property
    def is_fixed(self) -> bool:
        """Whether the settings name one file for all rows."""
        return bool(self._setting) and not Path(self._setting).is_dir()

    def tables(self, path: Path) -> tuple[Table, ...]:
        """The tables and views that can be read, with values."""
        return self._read(path).tables

    def notes(self, path: Path) -> list[str]:
        """What cannot be read, one line each."""
        notes = self._read(path).notes
        more = [f"… and {len(notes) - MAX_NOTES} more of this kind"] if len(notes) > MAX_NOTES else []
        return [f"{path.name}: {note}" for note in (*notes[:MAX_NOTES], *more)]

    def list_fixed(self) -> list[Path]:
        """The file that the settings name for all rows, if there is one."""
        path = Path(self._setting)
        return [path] if self._setting and _is_file(path) and not self._check(path) else []

    def describe(self, path: Path, *, n_values: int = 0) -> str:
        """The tables as `CREATE TABLE`, one per line, with names, types and keys, and with some values of each column."""
        return "\n".join(line for table in self.tables(path) for line in _write_table(table, n_values))

    def draw_values(self, path: Path, tables: Sequence[str], *, n: int, rng: Random) -> str:
        """Real values of some columns, for a writer to choose from."""
        wanted = {name.lower() for name in tables}
        columns = [
            (f"{table.name}.{column.name}", values)
            for table in self.tables(path)
            if not wanted or table.name.lower() in wanted
            for column in table.columns
            if (values := [text for v in column.values if (text := _write_value(v))])
        ]
        drawn = [(name, rng.sample(values, min(n, len(values)))) for name, values in columns]
        return "; ".join(f"{name}: {', '.join(values)}" for name, values in drawn)

    def _list_rows(self, path: Path, table: str, columns: tuple[str, ...]) -> tuple[tuple[Value, ...], ...]:
        """Distinct rows of these columns, up to `MAX_ROWS_LISTED`. Empty if the table cannot be read."""
        chosen = ", ".join(map(_quote_name, columns))
        sql = f"SELECT DISTINCT {chosen} FROM {_quote_name(table)} ORDER BY {chosen} LIMIT {MAX_ROWS_LISTED}"
        found = self._reader.query(path, sql)
        return () if isinstance(found, Failure) else found.rows

    def _find_named(self, row: RowReader) -> Path:
        name = row.text("database").strip()
        folders = [Path(self._setting)] if self._setting else _list_folders(row)
        path = next(_list_files(name, folders), None)
        if path is None:
            looked = " and ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
            row.fail("database", f"there is no such file in {looked}")
        return self._keep_inside(row, path)

    def _keep_to(self, path: Path, row: RowReader) -> None:
        if not row.has("database"):
            return
        name = row.text("database").strip()
        named = _list_files(name, [path.parent, *_list_folders(row)])
        if not _is_name_of(path, name) and not any(path.samefile(file) for file in named):
            row.fail(
                "database",
                f"task.database is the file {path.name} for all rows. Set it to the folder of the rows' databases, or, if all"
                f" rows are about {path.name}, leave this column out with task.columns: {{database: []}}",
            )

    def _keep_inside(self, row: RowReader, path: Path) -> Path:
        if self._setting and not path.resolve().is_relative_to(Path(self._setting).resolve()):
            row.fail("database", f"that lies outside {self._setting}, the folder in task.database")
        return path

    def _find_problem(self, path: Path) -> str | None:
        if not _is_file(path):
            return f"is not a file (relative to {Path.cwd()})"
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return "is not an SQLite database"
        if pending := _find_pending(path):
            return (
                f"has changes that are not yet in it ({pending.name}). Close what has it open, or make a copy with"
                f" `sqlite3 {path} \"VACUUM INTO 'copy.sqlite'\"`"
            )
        found = self._reader.describe(path)
        if isinstance(found, Failure):
            return f"cannot be read: {found.reason}"
        if found.tables:
            return None
        return (
            f"has no tables that can be read: {'; '.join(found.notes[:MAX_NOTES])}" if found.notes else "has no tables"
        )

    def _read_description(self, path: Path) -> Description:
        found = self._reader.describe(path, n_values=N_VALUES_READ)
        if not isinstance(found, Failure):
            return found
        without = self._reader.describe(path)  # values are only examples
        if isinstance(without, Failure):
            raise DatasetError(f"{path}: cannot be read: {without.reason}")
        return without.model_copy(update={"notes": (*without.notes, f"no values can be listed: {found.reason}")})


def _write_table(table: Table, n_values: int) -> list[str]:
    columns = [_write_column(column, table) for column in table.columns]
    keys = [column.name for column in sorted(table.columns, key=lambda c: c.key) if column.key]
    if len(keys) > 1:
        columns.append(f"PRIMARY KEY ({', '.join(map(_write_name, keys))})")
    lines = [f"CREATE TABLE {_write_name(table.name)} ({', '.join(columns)});"]
    for column in table.columns:
        values = [text for value in column.values if (text := _write_value(value))]
        shown = values[:: -(-len(values) // n_values)] if values and n_values else []
        lines += [f"-- {column.name}: {', '.join(shown)}"] if shown else []
    return lines


def _write_column(column: Column, table: Table) -> str:
    parts = [_write_name(column.name), column.type.lower()]
    parts += ["primary key"] if column.key and sum(bool(c.key) for c in table.columns) == 1 else []
    for name, other, target in table.references:
        if name == column.name:
            parts.append(f"references {_write_name(other)}" + (f"({_write_name(target)})" if target else ""))
    return " ".join(filter(None, parts))


def _write_name(name: str) -> str:
    plain = name.isascii() and name.isidentifier() and name.lower() not in RESERVED
    return name if plain else _quote_name(name)


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _write_value(value: Value) -> str:
    """The value in SQL notation. Empty if it is too long to show."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        text = "'" + value.replace("'", "''") + "'"
    return text if 0 < len(text) <= MAX_CHARACTERS_OF_VALUE and text.isprintable() else ""


def _list_folders(row: RowReader) -> list[Path]:
    """Where a name in a row is looked up if the settings name no folder."""
    return [Path(row.where.rpartition(":")[0]).parent, Path()]


def _list_files(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    return filter(_is_file, (folder / form.format(name) for folder in folders for form in FORMS))


def _is_name_of(path: Path, name: str) -> bool:
    """Whether a name, with or without ending and with any number of folders before it, may mean this file."""
    named = _fold(Path(name))
    for file in (path.absolute(), path.resolve()):
        for whole in (file, file.with_suffix("")):
            if named and _fold(whole)[-len(named) :] == named:
                return True
    return False


def _fold(path: Path) -> tuple[str, ...]:
    return tuple(to_nfc(part).casefold() for part in path.parts)


def _find_pending(path: Path) -> Path | None:
    """The file with changes that are not yet in the database. SQLite writes it beside the file that a link leads to."""
    for file in (path, path.resolve()):
        for ending in ("-wal", "-journal"):
            beside = file.with_name(file.name + ending)
            if _is_file(beside) and beside.stat().st_size:
                return beside
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, a null byte
        return False
