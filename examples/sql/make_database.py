"""Makes `library.sqlite`, the small database that the questions beside it are about: python examples/sql/make_database.py"""

import sqlite3
import sys
from pathlib import Path

SCHEMA = """
CREATE TABLE book (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL, year INTEGER, genre TEXT, copies INTEGER NOT NULL);
CREATE TABLE member (id INTEGER PRIMARY KEY, name TEXT NOT NULL, town TEXT NOT NULL, joined INTEGER NOT NULL);
CREATE TABLE loan (
    book INTEGER NOT NULL REFERENCES book (id), member INTEGER NOT NULL REFERENCES member (id),
    taken TEXT NOT NULL, returned TEXT);
"""
BOOKS = [
    ("The Quiet Harbour", "Ines Falk", 1987, "novel", 3),
    ("Salt and Lanterns", "Ines Falk", 1994, "novel", 2),
    ("A Field Guide to Clouds", "Tom Arden", 2003, "nature", 1),
    ("Moss", "Tom Arden", 2011, "nature", 2),
    ("Bread at Dawn", "Odile Brun", 2015, "cooking", 4),
    ("The Copper Train", "Samir Haddad", 1978, "mystery", 2),
    ("Nine Locked Rooms", "Samir Haddad", 1981, "mystery", 5),
    ("Letters from the Delta", "Mary Okoro", 1999, "history", 1),
    ("The Bridge Builders", "Mary Okoro", 2007, "history", 2),
    ("Winter Counting", "Jan Vesely", 2019, "poetry", 1),
]
MEMBERS = [
    ("Anna Berg", "Alten", 2012),
    ("Carl Dorn", "Alten", 2019),
    ("Elif Kaya", "Brask", 2016),
    ("Gus Moen", "Brask", 2021),
    ("Hana Ito", "Corvil", 2016),
    ("Luis Prado", "Corvil", 2023),
    ("Nora Quist", "Alten", 2008),
]
LOANS = [
    (1, 1, "2024-01-08", "2024-01-29"),
    (7, 1, "2024-02-02", "2024-02-20"),
    (7, 2, "2024-02-11", None),
    (3, 3, "2024-02-14", "2024-03-01"),
    (5, 3, "2024-03-04", None),
    (6, 4, "2024-03-09", "2024-03-30"),
    (7, 5, "2024-03-12", "2024-04-02"),
    (9, 5, "2024-04-05", None),
    (4, 7, "2024-04-09", "2024-04-28"),
    (1, 7, "2024-05-01", None),
    (10, 7, "2024-05-03", "2024-05-17"),
    (5, 2, "2024-05-06", "2024-05-24"),
]


def make(path: Path) -> None:
    """Write the database, in place of one that is there."""
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    with database:
        database.executescript(SCHEMA)
        database.executemany("INSERT INTO book (title, author, year, genre, copies) VALUES (?, ?, ?, ?, ?)", BOOKS)
        database.executemany("INSERT INTO member (name, town, joined) VALUES (?, ?, ?)", MEMBERS)
        database.executemany("INSERT INTO loan VALUES (?, ?, ?, ?)", LOANS)
    database.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("library.sqlite"))
