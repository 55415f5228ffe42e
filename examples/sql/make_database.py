"""Makes `library.sqlite`, the database that the questions beside it are about: python examples/sql/make_database.py

All people, books and places are invented.
"""

import random
import sqlite3
import sys
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

SCHEMA = """
CREATE TABLE author (name TEXT PRIMARY KEY, country TEXT NOT NULL, born INTEGER NOT NULL);
CREATE TABLE book (
    title TEXT PRIMARY KEY, author TEXT NOT NULL REFERENCES author (name), genre TEXT NOT NULL, year INTEGER NOT NULL,
    pages INTEGER NOT NULL, copies INTEGER NOT NULL);
CREATE TABLE branch (name TEXT PRIMARY KEY, town TEXT NOT NULL, opened INTEGER NOT NULL, seats INTEGER NOT NULL);
CREATE TABLE member (
    name TEXT PRIMARY KEY, town TEXT NOT NULL, born INTEGER NOT NULL, joined INTEGER NOT NULL,
    branch TEXT NOT NULL REFERENCES branch (name));
CREATE TABLE loan (
    title TEXT NOT NULL REFERENCES book (title), member TEXT NOT NULL REFERENCES member (name),
    branch TEXT NOT NULL REFERENCES branch (name), day TEXT NOT NULL, returned TEXT);
"""
AUTHORS = [
    ("Ines Falk", "Norway", 1951),
    ("Tom Arden", "Ireland", 1963),
    ("Odile Brun", "France", 1970),
    ("Samir Haddad", "Lebanon", 1942),
    ("Mary Okoro", "Nigeria", 1958),
    ("Jan Vesely", "Czechia", 1984),
    ("Kenji Mori", "Japan", 1949),
    ("Lucia Ferro", "Italy", 1975),
    ("Pedro Salas", "Chile", 1961),
    ("Anja Holm", "Norway", 1989),
    ("Ruth Keane", "Ireland", 1938),
    ("Amadou Diallo", "Senegal", 1966),
    ("Greta Lind", "Sweden", 1979),
    ("Noor Aziz", "Pakistan", 1990),
    ("Paul Marchand", "France", 1955),
    ("Wei Zhao", "China", 1968),
    ("Elena Popova", "Bulgaria", 1947),
    ("David Asante", "Ghana", 1982),
    ("Clara Nunes", "Brazil", 1973),
    ("Hugo Stein", "Germany", 1934),
    ("Yuki Tanabe", "Japan", 1981),
    ("Marta Kowal", "Poland", 1956),
    ("Owen Pryce", "Ireland", 1971),
    ("Leila Rahimi", "Iran", 1964),
]
BOOKS = [
    ("The Quiet Harbour", "Ines Falk", "novel", 1987, 312, 3),
    ("Salt and Lanterns", "Ines Falk", "novel", 1994, 284, 2),
    ("The Last Ferry", "Ines Falk", "mystery", 2001, 341, 4),
    ("A Field Guide to Clouds", "Tom Arden", "nature", 2003, 176, 1),
    ("Moss", "Tom Arden", "nature", 2011, 148, 2),
    ("Rivers Underground", "Tom Arden", "science", 2016, 262, 3),
    ("Bread at Dawn", "Odile Brun", "cooking", 2015, 220, 4),
    ("Forty Soups", "Odile Brun", "cooking", 2019, 164, 6),
    ("The Salted Table", "Odile Brun", "cooking", 2022, 240, 2),
    ("The Copper Train", "Samir Haddad", "mystery", 1978, 298, 2),
    ("Nine Locked Rooms", "Samir Haddad", "mystery", 1981, 356, 5),
    ("A Witness in Winter", "Samir Haddad", "mystery", 1990, 402, 3),
    ("Letters from the Delta", "Mary Okoro", "history", 1999, 431, 1),
    ("The Bridge Builders", "Mary Okoro", "history", 2007, 520, 2),
    ("Kings of the Coast", "Mary Okoro", "history", 2013, 478, 1),
    ("Winter Counting", "Jan Vesely", "poetry", 2019, 96, 1),
    ("Small Machines", "Jan Vesely", "poetry", 2023, 84, 2),
    ("The Paper Gate", "Kenji Mori", "novel", 1983, 267, 2),
    ("Snow on Cedar", "Kenji Mori", "novel", 1992, 305, 3),
    ("Walking to Kyoto", "Kenji Mori", "travel", 2004, 198, 1),
    ("The Lemon House", "Lucia Ferro", "novel", 2008, 333, 5),
    ("Sister of the Sea", "Lucia Ferro", "novel", 2014, 389, 4),
    ("Pasta on Monday", "Lucia Ferro", "cooking", 2020, 152, 3),
    ("South by Rail", "Pedro Salas", "travel", 1998, 276, 2),
    ("The Desert Road", "Pedro Salas", "travel", 2009, 318, 2),
    ("Islands at the End", "Pedro Salas", "travel", 2017, 254, 1),
    ("Fox and Button", "Anja Holm", "children", 2018, 32, 8),
    ("The Bear Who Counted", "Anja Holm", "children", 2020, 40, 7),
    ("Goodnight Tractor", "Anja Holm", "children", 2024, 28, 9),
    ("The Abbey Murders", "Ruth Keane", "mystery", 1969, 287, 2),
    ("Death of a Piper", "Ruth Keane", "mystery", 1974, 263, 3),
    ("The Drowned Bell", "Ruth Keane", "mystery", 1985, 310, 1),
    ("Songs for a Dry Season", "Amadou Diallo", "poetry", 1996, 112, 1),
    ("The Market of Voices", "Amadou Diallo", "novel", 2005, 345, 2),
    ("How Bees Decide", "Greta Lind", "science", 2012, 233, 4),
    ("The Clock in the Cell", "Greta Lind", "science", 2018, 290, 3),
    ("A Brief Life of Rocks", "Greta Lind", "science", 2021, 208, 2),
    ("Kites over Lahore", "Noor Aziz", "novel", 2019, 274, 3),
    ("The Tea Seller's Map", "Noor Aziz", "mystery", 2023, 327, 6),
    ("The Siege of Saint Malo", "Paul Marchand", "history", 1988, 612, 1),
    ("Roads of the Romans", "Paul Marchand", "history", 1995, 447, 2),
    ("Number and Night", "Wei Zhao", "science", 2010, 364, 1),
    ("The Ninth Planet", "Wei Zhao", "science", 2020, 411, 5),
    ("The Rose Valley", "Elena Popova", "novel", 1979, 258, 1),
    ("Bread of Strangers", "Elena Popova", "novel", 1986, 371, 2),
    ("Gold Coast Kitchen", "David Asante", "cooking", 2021, 186, 3),
    ("Drums Before Rain", "David Asante", "poetry", 2016, 104, 1),
    ("The Parrot Thief", "Clara Nunes", "children", 2011, 64, 5),
    ("Grandmother Ocean", "Clara Nunes", "children", 2015, 48, 4),
    ("Seven Umbrellas", "Clara Nunes", "children", 2022, 36, 6),
    ("The Emperor's Gardener", "Hugo Stein", "history", 1967, 534, 1),
    ("A History of Locks", "Hugo Stein", "history", 1976, 289, 1),
    ("Tokyo After Midnight", "Yuki Tanabe", "mystery", 2014, 299, 4),
    ("The Glass Elevator", "Yuki Tanabe", "mystery", 2019, 322, 3),
    ("Owls of the North", "Marta Kowal", "nature", 1991, 190, 2),
    ("The Marsh Year", "Marta Kowal", "nature", 2000, 225, 1),
    ("Hedgerows", "Owen Pryce", "nature", 2006, 160, 2),
    ("Across Three Passes", "Owen Pryce", "travel", 2013, 243, 3),
    ("The Night Orchard", "Leila Rahimi", "novel", 1997, 296, 2),
    ("Poems from a Train", "Leila Rahimi", "poetry", 2002, 120, 1),
]
BRANCHES = [
    ("Harbour", "Alten", 1962, 48),
    ("Castle Hill", "Alten", 1908, 36),
    ("Station", "Brask", 1985, 60),
    ("Old Mill", "Brask", 1931, 24),
    ("University", "Corvil", 1974, 220),
    ("Market Square", "Corvil", 1999, 85),
    ("Riverside", "Dunmore", 2011, 110),
    ("Garden", "Elsby", 2020, 42),
]
MEMBERS = [
    ("Anna Berg", "Alten", 1988, 2012, "Harbour"),
    ("Carl Dorn", "Alten", 1951, 2001, "Castle Hill"),
    ("Elif Kaya", "Brask", 1994, 2016, "Station"),
    ("Gus Moen", "Brask", 2001, 2021, "Station"),
    ("Hana Ito", "Corvil", 1999, 2018, "University"),
    ("Luis Prado", "Corvil", 2003, 2023, "University"),
    ("Nora Quist", "Alten", 1972, 2008, "Harbour"),
    ("Bram Visser", "Dunmore", 1966, 2011, "Riverside"),
    ("Celia Stone", "Dunmore", 1990, 2014, "Riverside"),
    ("Dario Conti", "Elsby", 1983, 2020, "Garden"),
    ("Eva Lang", "Elsby", 1959, 2020, "Garden"),
    ("Femi Ade", "Corvil", 2002, 2022, "University"),
    ("Gina Rossi", "Corvil", 1978, 2003, "Market Square"),
    ("Henrik Dahl", "Alten", 1945, 1998, "Castle Hill"),
    ("Iris Novak", "Brask", 1985, 2010, "Old Mill"),
    ("Jonas Weber", "Brask", 2012, 2022, "Old Mill"),
    ("Karin Ek", "Dunmore", 1997, 2019, "Riverside"),
    ("Leo Martin", "Elsby", 2014, 2024, "Garden"),
    ("Mina Shah", "Corvil", 1992, 2017, "Market Square"),
    ("Nils Friis", "Alten", 1963, 2005, "Harbour"),
    ("Olga Petrov", "Dunmore", 1954, 2011, "Riverside"),
    ("Petra Vogel", "Brask", 1970, 1999, "Station"),
    ("Quentin Roy", "Corvil", 2000, 2019, "University"),
    ("Rosa Lima", "Alten", 2010, 2021, "Castle Hill"),
    ("Sven Lund", "Elsby", 1948, 2021, "Garden"),
    ("Tara Byrne", "Dunmore", 1981, 2015, "Riverside"),
    ("Umar Khan", "Corvil", 1996, 2024, "University"),
    ("Vera Blom", "Alten", 1956, 1997, "Harbour"),
    ("Will Hart", "Brask", 1989, 2013, "Station"),
    ("Yara Costa", "Dunmore", 2008, 2023, "Riverside"),
    ("Zoe Clark", "Corvil", 1975, 2009, "Market Square"),
    ("Adam Frost", "Elsby", 1991, 2022, "Garden"),
]
N_LOANS = 150
NEVER_LENT = ("A History of Locks", "Poems from a Train", "Number and Night", "Drums Before Rain")
NEVER_BORROWED = ("Henrik Dahl", "Umar Khan")


def make_loans() -> list[tuple[str, str, str, str, str | None]]:
    """Loans of 2023 to 2025 with: title, member, branch, first day, and the day of return. None if the book is not back."""
    draw = random.Random(2)
    titles = [book[0] for book in BOOKS if book[0] not in NEVER_LENT]
    members = [member for member in MEMBERS if member[0] not in NEVER_BORROWED]
    loans = []
    for n in range(N_LOANS):
        title, member = titles[int(len(titles) * draw.random() ** 1.4)], members[int(len(members) * draw.random())]
        branch = member[4] if draw.random() < 0.8 else BRANCHES[int(len(BRANCHES) * draw.random())][0]
        day = date(2023, 1, 9) + timedelta(days=7 * n + int(5 * draw.random()))
        is_back = draw.random() < 0.97 if n < N_LOANS - 16 else draw.random() < 0.4
        returned = str(day + timedelta(days=4 + int(30 * draw.random()))) if is_back else None
        loans.append((title, member[0], branch, str(day), returned))
    return loans


def make(path: Path) -> None:
    """Write the database, in place of one that is there."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        for table, rows in (
            ("author", AUTHORS),
            ("book", BOOKS),
            ("branch", BRANCHES),
            ("member", MEMBERS),
            ("loan", make_loans()),
        ):
            database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("library.sqlite"))
