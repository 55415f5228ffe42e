"""The paper's three agents and the guards: analyze failures, draft strategies, write rows, check and rate them.

Nothing here imports torch or LangGraph, or reads files.
"""
