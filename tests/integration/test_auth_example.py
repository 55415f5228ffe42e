"""The real server with examples/auth: shut for strangers, users apart, settings within the policy."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import NotFoundError, PermissionDeniedError

from tests.dev_server import ROOT, launch

pytest.importorskip("langgraph_api", reason="the extra `studio` is not installed")

TOKENS = {"alice": "tok-of-alice", "bob": "tok-of-bob"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`langgraph dev` in a copy of the example's folder, with an empty workspace."""
    home, workspace = tmp_path_factory.mktemp("auth"), tmp_path_factory.mktemp("workspace")
    for name in ("auth.py", "langgraph.json"):
        (home / name).write_text((ROOT / "examples" / "auth" / name).read_text())
    tokens = ",".join(f"{user}:{token}" for user, token in TOKENS.items())
    server = launch(home, PADA_TOKENS=tokens, PADA_WORKSPACE=str(workspace))
    yield server.url
    server.stop()


@pytest.fixture
def alice(url: str) -> Iterator[SyncLangGraphClient]:
    with open_client(url, "alice") as client:
        yield client


@pytest.fixture
def bob(url: str) -> Iterator[SyncLangGraphClient]:
    with open_client(url, "bob") as client:
        yield client


def open_client(url: str, user: str) -> SyncLangGraphClient:
    return get_sync_client(url=url, headers={"Authorization": f"Bearer {TOKENS[user]}"})


@pytest.fixture
def thread(alice: SyncLangGraphClient) -> str:
    """One of alice's."""
    return alice.threads.create()["thread_id"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer alice"},
        {"Authorization": "Basic tok-of-alice"},
        {"x-auth-scheme": "langsmith", "x-api-key": "x"},
    ],
    ids=["none", "wrong", "name", "scheme", "studio"],
)
def test_nobody_comes_in_without_a_token(url: str, headers: dict[str, str]) -> None:
    for path in ("threads", "threads/search", "assistants/search", "runs/wait"):
        answer = httpx.post(f"{url}/{path}", json={"assistant_id": "pada_agent"}, headers=headers)
        assert answer.status_code == 401


def test_a_users_threads_are_not_there_for_another(
    alice: SyncLangGraphClient, bob: SyncLangGraphClient, thread: str
) -> None:
    attempts: list[Any] = [
        lambda: bob.threads.get(thread),
        lambda: bob.threads.get_state(thread),
        lambda: bob.threads.update_state(thread, {"stop_reason": "mine"}),
        lambda: bob.threads.delete(thread),
        lambda: bob.runs.list(thread),
        lambda: bob.runs.create(thread, "pada_agent", input={}),
    ]
    for attempt in attempts:
        with pytest.raises(NotFoundError):
            attempt()
    assert thread not in [t["thread_id"] for t in bob.threads.search(metadata={"owner": "alice"})]
    assert thread in [t["thread_id"] for t in alice.threads.search()]


def test_nobody_makes_a_thread_in_anothers_name(bob: SyncLangGraphClient) -> None:
    forged = bob.threads.create(metadata={"owner": "alice"})
    assert forged["metadata"] == {"owner": "bob"}


def test_stored_items_are_apart_and_what_no_rule_allows_is_refused(
    alice: SyncLangGraphClient, bob: SyncLangGraphClient
) -> None:
    alice.store.put_item(["notes"], "k", {"v": 1})
    assert alice.store.get_item(["notes"], "k")["value"] == {"v": 1}
    assert not bob.store.get_item(["notes"], "k") and not bob.store.get_item(["alice", "notes"], "k")
    with pytest.raises(PermissionDeniedError):
        alice.crons.create("pada_agent", schedule="* * * * *", input={})
    with pytest.raises(PermissionDeniedError):
        alice.assistants.create("pada_agent")


def test_settings_beyond_the_policy_end_the_run_with_every_reason(alice: SyncLangGraphClient, thread: str) -> None:
    context = {
        "data": {"train": "/etc/passwd", "validation": "../x.jsonl"},
        "runs_folder": "/tmp",
        "models": {"judge": {"model": "openai:x", "base_url": "http://169.254.169.254/"}},
    }
    told = run_to_its_error(alice, thread, context)
    for key in ("data.train", "data.validation", "runs_folder", "models.judge.base_url"):
        assert f"{key}: " in told


def test_a_key_in_the_settings_is_refused_and_not_repeated(alice: SyncLangGraphClient, thread: str) -> None:
    context = {"models": {"judge": {"model": "openai:x", "api_key": "tok-very-secret"}}}
    told = run_to_its_error(alice, thread, context)
    assert "models.judge.api_key" in told and "tok-very-secret" not in told
    assert "tok-very-secret" not in str(alice.threads.get_state(thread))


def run_to_its_error(user: SyncLangGraphClient, thread: str, context: dict[str, Any]) -> str:
    ended: Any = user.runs.wait(thread, "pada_agent", input={}, context=context, raise_error=False)  # type: ignore[arg-type]
    return str(ended["__error__"]["message"])
