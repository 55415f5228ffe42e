"""The graph that langgraph.json names for `langgraph dev` and Studio: the standard adapters, limited by the server's policy."""

import os
from dataclasses import replace
from pathlib import Path

from langgraph.config import get_config

from pada_agent.app import wiring
from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.run_folder.layout import folder_of
from pada_agent.app.run_folder.ownership import Owner, leave_folder, own_folder
from pada_agent.app.server_policy import confine, read_policy
from pada_agent.core.config import RunConfig
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.builder import build_graph

policy = read_policy(os.environ, Path.cwd())


def connect(config: RunConfig) -> Adapters:
    """The standard adapters, for settings that the policy allows."""
    datasets = FileDatasets(workspace=policy.workspace, max_rows=policy.max_rows, max_file_bytes=policy.max_file_bytes)
    confined = confine(config, policy)
    folder = folder_of(confined)
    own_folder(folder, _find_owner())
    try:
        adapters = wiring.connect(confined)
    except BaseException:
        leave_folder(folder)
        raise

    def close() -> None:
        adapters.close()
        if not wiring.is_open(confined):  # else the thread has begun again
            leave_folder(folder)

    for role in (adapters.analyst, adapters.generator, adapters.judge):
        if isinstance(role.model, ChatModelAdapter):
            role.model.hide_words()  # whoever sends settings is not meant to see what this machine can reach
    return replace(adapters, datasets=datasets, close=close)


def _find_owner() -> Owner:
    """The running thread and its user according to the server. Settings have no influence on it."""
    try:
        known = get_config().get("configurable", {})
    except RuntimeError:  # not inside a graph
        known = {}
    return Owner(thread=str(known.get("thread_id") or ""), user=str(known.get("langgraph_auth_user_id") or ""))


graph = build_graph(connect)
