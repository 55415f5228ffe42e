"""Branches, tags and commits of repositories on the Hugging Face hub, as settings name them."""

import re

COMMIT = re.compile(r"[0-9a-f]{40}")
ROWS = re.compile(
    r"hub:(?P<repo>[^/:@]+/[^/:@]+)(?:@(?P<revision>[^:@]+?))?(?::(?P<config>(?!\.+/)[^/\\]+))?/(?P<split>[^/]+)"
)
"""A location of rows on the hub."""
_ODD = re.compile(r"^[-/.]|[/.]$|\.\.|//|/\.|@\{|^@$|\.lock(/|$)|[\x00-\x20\x7f~^:?*\[\\]")
"""What git allows in no name of a branch or tag, and a minus in front, which would be an option."""


def check_revision(revision: str) -> None:
    """Check that this can be the name of a branch, tag or commit, because it becomes part of addresses and paths.

    Raises:
        ValueError: it cannot.
    """
    if not revision or _ODD.search(revision):
        raise ValueError(f"{revision!r} is not the name of a branch, tag or commit")


def check_location(location: str) -> None:
    """Check the revision in the location of rows, if it names one.

    Raises:
        ValueError: it is not the name of one.
    """
    if (found := ROWS.fullmatch(location)) and found["revision"] is not None:
        check_revision(found["revision"])
