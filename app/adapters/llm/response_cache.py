"""Every LLM call of a run, in SQLite: a resumed run pays for nothing twice, and the ledger shows where the money went."""

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock, RLock
from typing import Literal
from weakref import WeakValueDictionary, finalize

from pada_agent.app.adapters.llm.environment import Address
from pada_agent.app.adapters.storage.artifacts import is_disk_full, tell_why_unwritten
from pada_agent.core.chat import ChatReply, ChatRequest
from pada_agent.core.damage import FREE_SPACE
from pada_agent.core.errors import ArtifactError
from pada_agent.core.model_config import ModelConfig
from pada_agent.core.records import Usage

_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, role TEXT NOT NULL, agent TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL,
    truncated INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL,
    tags TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (key TEXT PRIMARY KEY, server TEXT NOT NULL, price_share REAL NOT NULL);
CREATE TABLE IF NOT EXISTS prices (
    role TEXT, model TEXT, server TEXT, input_usd REAL, output_usd REAL, PRIMARY KEY (role, model, server)
);
CREATE TABLE IF NOT EXISTS cached_input (key TEXT PRIMARY KEY, tokens INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS cached_input_prices (
    role TEXT, model TEXT, server TEXT, usd REAL, PRIMARY KEY (role, model, server)
);
CREATE TABLE IF NOT EXISTS begun (key TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS hits (key TEXT NOT NULL, role TEXT NOT NULL, agent TEXT NOT NULL, at REAL NOT NULL);
"""
"""`started` and `at` are Unix seconds. `begun` holds the calls whose answers have not come: after a kill they are lost.
`truncated` is 1 for an answer that was cut off, and 2 for a refusal, whose words are in `reply`.
`charges` holds what else decides the cost of a call: `name_server` and `ChatReply.price_share`. Calls of earlier versions have no entry.
`prices`, in dollars per million tokens, are those at which the stored calls are charged. `cached_input` holds how many of a call's input
tokens the provider has read from its own cache, if any. It and its prices are tables of their own, which earlier versions do not miss."""
_CACHED = "coalesce((SELECT tokens FROM cached_input WHERE cached_input.key = calls.key), 0)"
_COST = (
    f"((input_tokens - {_CACHED}) * ? + {_CACHED} * ? + output_tokens * ?) / ?"
    " * (SELECT price_share FROM charges WHERE charges.key = calls.key)"
)
MILLION = 1_000_000
REFUSED = 2
_FORM = {"native_json_schema", "send_temperature"}
"""Settings that decide which of a request's fields are sent."""
SHORT_OF_CONTEXT_TOKENS = 16
"""An answer with so many tokens less than the context holds was not cut off by it. Engines stop one or two before its end."""
LEAST_FREE_BYTES = 8 * 2**20
"""Free disk space below which no call is started, because there may be no room for its answer."""


def name_model(config: ModelConfig, address: Address | None) -> str:
    """The model, and everything else that decides who answers, and how. Keys contain only its hash.

    It names the variables of secret headers and not their values, so that answers are found again after a token was renewed.
    A setting with its default is not named, so that answers of earlier versions are found. Those that only say how the same model
    is reached are never named: the service tier, Azure's API version, the AWS region.

    Args:
        address: where it is asked, if that is known.
    """
    more = {"reasoning_effort": config.reasoning_effort, **config.extra}
    chosen = {name: value for name, value in more.items() if value is not None}
    headers = {name.lower(): value for name, value in {**config.headers, **config.header_envs}.items()}
    route = {"headers": headers} if headers else {}
    form = config.model_dump(include=_FORM, exclude_defaults=True)
    parts = (json.dumps(part, sort_keys=True) for part in (chosen, route, form) if part)
    return f"{config.model}@{_find_url(config, address)}{''.join(parts)}"


def name_server(config: ModelConfig, address: Address | None) -> str:
    """A short hash of the address that is asked. Models of one name may have another price elsewhere."""
    return hashlib.sha256(_find_url(config, address).encode()).hexdigest()[:16]


def _find_url(config: ModelConfig, address: Address | None) -> str:
    return address.url if address and address.source else config.base_url or ""


def call_key(model: str, request: ChatRequest) -> str:
    """Address of a call: a hash of everything that can change its answer, and nothing else."""
    asked = request.model_dump(mode="json", exclude={"tags"})
    text = json.dumps({"model": model, **asked}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


class ResponseCache:
    """`llm_calls.sqlite`. Thread-safe; several processes may share a file. Requests contain no keys, so neither does the file.

    It stays open until nobody refers to it: calls in flight are recorded after their run was closed.

    Args:
        shared: a second such file, for several runs. A reply that one of them has paid for is a hit for the others.
    """

    def __init__(self, path: Path, *, shared: "ResponseCache | None" = None) -> None:
        self._lock = RLock()
        self._path = path
        self._shared = shared
        self._asking: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        self._totals: dict[str, Usage] | None = None
        """By role. None before they were asked for."""
        self._version = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _open(path)
        except (sqlite3.Error, OSError) as exc:
            if isinstance(exc, OSError) or is_disk_full(exc):
                raise ArtifactError(f"{path}: {tell_why_unwritten(exc)}") from exc
            raise ArtifactError(
                f"{path}: the record of LLM calls cannot be opened ({exc}). Move it away to start a new one."
            ) from exc
        finalize(self, self._db.close)

    @property
    def path(self) -> Path:
        return self._path

    @contextmanager
    def asking_once(self, key: str) -> Iterator[None]:
        """Only one thread per key, among all runs that share replies. Whoever comes second finds what the first has paid for."""
        owner = self._shared or self
        with owner._lock:
            alone = owner._asking.setdefault(key, Lock())
        with alone:
            yield

    def get(self, key: str, *, role: str = "", agent: str = "") -> ChatReply | None:
        """The stored reply, marked as cached: its usage is one hit and no tokens. The hit is counted."""
        with self._lock:
            row = self._find(key) or (self._shared and self._shared._find(key))
            if not row:
                return None
            self._write("INSERT INTO hits VALUES (?, ?, ?, ?)", (key, role, agent, time.time()))
            self._count(Usage(n_cached=1), role=role)
        return ChatReply(
            text=row[0],
            truncated=row[1] == 1,
            refused=row[1] == REFUSED,
            usage=Usage(n_cached=1),
            cached=True,
            key=key,
        )

    def forget_cut_off(self, key: str, *, context_tokens: int) -> None:
        """Set an answer that was cut off because the context was full aside, if a context of this many tokens has room for more of it.

        What it cost still counts. One that is no longer than an earlier one stays: the model itself takes no more.
        """
        if self._shared:
            self._shared.forget_cut_off(key, context_tokens=context_tokens)
        with self._lock:
            aside = f"{key} of {context_tokens} tokens"
            if self._write(
                "UPDATE OR IGNORE calls SET key = ? WHERE key = ? AND truncated = 1 AND input_tokens + output_tokens < ?"
                " AND output_tokens < json_extract(request, '$.max_output_tokens') AND NOT EXISTS (SELECT 1 FROM calls AS"
                " earlier WHERE earlier.key LIKE ? AND earlier.output_tokens >= calls.output_tokens - ?)",
                (aside, key, context_tokens - SHORT_OF_CONTEXT_TOKENS, f"{key} of %", SHORT_OF_CONTEXT_TOKENS),
            ):
                for table in ("charges", "cached_input"):
                    self._write(f"UPDATE OR IGNORE {table} SET key = ? WHERE key = ?", (aside, key))

    def begin(self, key: str, *, started: float) -> None:
        """Record that a call is about to be paid for.

        Raises:
            ArtifactError: its answer could not be stored.
        """
        if shutil.disk_usage(self._path.parent).free < LEAST_FREE_BYTES:
            raise ArtifactError(f"{self._path}: the disk is full, so no new call is started. {FREE_SPACE}")
        self._write("INSERT OR REPLACE INTO begun VALUES (?, ?)", (key, started))

    def give_up(self, key: str) -> None:
        """Record that the call gave no answer."""
        with suppress(ArtifactError):
            self._write("DELETE FROM begun WHERE key = ?", (key,))

    def put(
        self,
        reply: ChatReply,
        request: ChatRequest,
        *,
        model: str,
        role: str,
        started: float,
        seconds: float,
        server: str = "",
    ) -> None:
        """Store a paid reply under its key. If two equal calls run at the same time, the first reply stays."""
        if self._shared:
            self._shared.put(reply, request, model=model, role=role, started=started, seconds=seconds, server=server)
        usage = reply.usage
        state = REFUSED if reply.refused else int(reply.truncated)
        spent = (state, usage.input_tokens, usage.output_tokens, usage.cost_usd)
        asked = request.model_dump_json(exclude={"tags"})
        agent = str(request.tags.get("agent", ""))
        described = (model, role, agent, asked, reply.text)
        values = (reply.key, *described, *spent, json.dumps(request.tags), started, seconds)
        with self._lock:
            self._write("INSERT OR IGNORE INTO charges VALUES (?, ?, ?)", (reply.key, server, reply.price_share))
            if n_cached := reply.n_cached_input_tokens:
                self._write("INSERT OR IGNORE INTO cached_input VALUES (?, ?)", (reply.key, n_cached))
            if self._write(f"INSERT OR IGNORE INTO calls VALUES ({', '.join('?' * len(values))})", values):
                self._count(usage.model_copy(update={"n_calls": 1, "n_cached": 0}), role=role)
            self._write("DELETE FROM begun WHERE key = ?", (reply.key,))

    def set_prices(self, config: ModelConfig, *, role: str, server: str) -> None:
        """Charge the role's calls of this model and server at the prices of these settings, whatever they were when a call was made.

        A call of an earlier version, whose server is not known, gets a price only if it has none.
        """
        if self._shared:
            self._shared.set_prices(config, role=role, server=server)
        asked = (role, config.model)
        prices = (config.usd_per_million_input_tokens, config.usd_per_million_output_tokens)
        cached_price = config.cached_input_price
        priced = (*asked, server, *prices)
        with self._lock:
            with self._reading() as database:
                is_done = database.execute(
                    "SELECT 1 FROM prices LEFT JOIN cached_input_prices USING (role, model, server)"
                    " WHERE (role, model, server, input_usd, output_usd) = (?, ?, ?, ?, ?) AND coalesce(usd, input_usd) = ?",
                    (*priced, cached_price),
                ).fetchone()
            if is_done:  # going through many calls takes seconds
                return
            self._write(
                "INSERT OR IGNORE INTO charges SELECT key, ?, 1 FROM calls WHERE role = ? AND model = ? AND cost_usd = 0",
                (server, *asked),
            )
            self._write(
                f"UPDATE calls SET cost_usd = {_COST} WHERE role = ? AND model = ?"
                " AND key IN (SELECT key FROM charges WHERE server = ?)",
                (prices[0], cached_price, prices[1], MILLION, *asked, server),
            )
            self._write("INSERT OR REPLACE INTO prices VALUES (?, ?, ?, ?, ?)", priced)
            self._write(
                "INSERT OR REPLACE INTO cached_input_prices VALUES (?, ?, ?, ?)", (*asked, server, cached_price)
            )
            self._totals = None

    def totals(self) -> Usage:
        """Usage of the whole run."""
        return sum(self.totals_by_role().values(), Usage())

    def totals_by_role(self) -> dict[str, Usage]:
        """Usage by role. Hits count only in `n_cached`. Cheap enough to ask after every call, because the file is summed up once."""
        with self._reading() as database:
            (version,) = database.execute("PRAGMA data_version").fetchone()
            if self._totals is None or version != self._version:  # another process has written
                self._totals = _sum_by(database, "role")
                self._version = version
            return dict(sorted(self._totals.items()))

    def _count(self, usage: Usage, *, role: str) -> None:
        """Add what was just written."""
        if self._totals is not None:
            self._totals[role] = self._totals.get(role, Usage()) + usage

    def totals_by_tag(self, tag: str) -> dict[str, Usage]:
        """Usage of the run's calls by the value of a tag. Calls without the tag are left out.

        Each call counts once, however often it was asked, and even if another run that shares its replies has paid for
        it.
        """
        totals: dict[str, Usage] = {}
        for value, usage in [*self._list_calls(tag), *self._list_borrowed(tag)]:
            totals[value] = totals.get(value, Usage()) + usage
        return totals

    def _list_calls(self, tag: str, keys: Sequence[str] | None = None) -> list[tuple[str, Usage]]:
        """The tag's value and the usage of each call that has it: of all calls, or of those under `keys`."""
        query = "SELECT key, json_extract(tags, ?) AS value, input_tokens, output_tokens, cost_usd FROM calls"
        wanted = None if keys is None else set(keys)
        with self._reading() as database:
            rows = database.execute(query, (f"$.{tag}",)).fetchall()
            return [
                (str(value), Usage(n_calls=1, input_tokens=n_in, output_tokens=n_out, cost_usd=cost))
                for key, value, n_in, n_out, cost in rows
                if value is not None and (wanted is None or key in wanted)
            ]

    def _list_borrowed(self, tag: str) -> list[tuple[str, Usage]]:
        """The same for replies that another run paid for."""
        if self._shared is None:
            return []
        with self._reading() as database:
            query = "SELECT DISTINCT key FROM hits WHERE key NOT IN (SELECT key FROM calls)"
            keys = [key for (key,) in database.execute(query).fetchall()]
        return self._shared._list_calls(tag, keys) if keys else []

    def close(self) -> None:
        with self._lock:
            self._db.close()
        if self._shared:
            self._shared.close()

    def _write(self, statement: str, values: Sequence[object]) -> int:
        """Returns the number of rows changed."""
        try:
            with self._lock:
                return self._db.execute(statement, values).rowcount
        except sqlite3.Error as exc:
            raise ArtifactError(f"{self._path}: {tell_why_unwritten(exc)}") from exc

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained(self._path):
            yield self._db

    def _find(self, key: str) -> tuple[str, int] | None:
        with self._reading() as database:
            found = database.execute("SELECT reply, truncated FROM calls WHERE key = ?", (key,)).fetchone()
        return (str(found[0]), int(found[1])) if found else None


def read_totals_by_agent(path: Path) -> dict[str, Usage]:
    """Usage by agent from a run's file, without writing to it. Empty if there is no file.

    Raises:
        ArtifactError: the file is damaged, or has another format.
    """
    return _read_totals(path, "agent")


def read_totals_by_role(path: Path) -> dict[str, Usage]:
    """The same by role."""
    return _read_totals(path, "role")


def _read_totals(path: Path, column: Literal["role", "agent"]) -> dict[str, Usage]:
    if not path.is_file():
        return {}
    with _explained(path), closing(open_unchanged(path)) as database:
        return _sum_by(database, column)


def open_unchanged(path: Path) -> sqlite3.Connection:
    """A connection that does not write to the database, for this or another thread.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    log = path.with_name(f"{path.name}-wal")
    # A folder that may not be written to is no place for the locks of a file that nobody changes.
    is_fixed = not os.access(path.parent, os.W_OK) and not (log.is_file() and log.stat().st_size)
    address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_fixed else ''}"
    return sqlite3.connect(address, uri=True, check_same_thread=False)


def _sum_by(database: sqlite3.Connection, column: Literal["role", "agent"]) -> dict[str, Usage]:
    paid = (
        f"SELECT {column}, COUNT(*), SUM(input_tokens), SUM(output_tokens), SUM(cost_usd) FROM calls GROUP BY {column}"
    )
    rows = database.execute(paid).fetchall()
    hits = dict(database.execute(f"SELECT {column}, COUNT(*) FROM hits GROUP BY {column}").fetchall())
    totals = {str(name): Usage(n_calls=n, input_tokens=i, output_tokens=o, cost_usd=c) for name, n, i, o, c in rows}
    cached = {str(name): Usage(n_cached=n) for name, n in hits.items()}
    return {name: totals.get(name, Usage()) + cached.get(name, Usage()) for name in sorted({*totals, *cached})}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Explains damage to the file and figures in it that are not numbers."""
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError) as exc:
        raise ArtifactError(
            f"{path}: the record of LLM calls cannot be read ({exc}). Move it away to start a new one; its calls then have to be paid for again."
        ) from exc


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=30, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_TABLES)
    except sqlite3.Error:
        database.close()
        raise
    return database
