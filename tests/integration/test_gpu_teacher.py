"""The teacher's server on a tiny Qwen2 on CPU. Needs llguidance, which no other part does."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import httpx
import pytest
import torch

from tests.tiny_models import save_gguf_student

pytest.importorskip("llguidance")

from tools.gpu_teacher.batching import Row, WritingError, draw, forbid
from tools.gpu_teacher.server import Options, RequestError, Teacher, TeacherServer

SCHEMA = {
    "type": "object",
    "properties": {"rating": {"type": "integer", "minimum": 1, "maximum": 10}, "kind": {"enum": ["good", "bad"]}},
    "required": ["rating", "kind"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
ENDLESS = frozenset({-1})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    file = save_gguf_student(tmp_path_factory.mktemp("teacher"), "qwen2")
    return Teacher(file, Options("cpu", max_rows=3, max_context=96, compact=True))


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 12, **more}


def test_rows_written_together_are_as_transformers_writes_them_alone(teacher: Teacher) -> None:
    texts = ["a", "a longer question", "bb", "something else", "c" * 20]
    with ThreadPoolExecutor(len(texts)) as pool:
        requests = [ask(text, max_tokens=6 + 5 * n) for n, text in enumerate(texts)]
        rows = [teacher._read_request(request) for request in requests]
        list(pool.map(teacher.engine.write, rows))
    for row in rows:
        ids = torch.tensor([row.prompt])
        alone = teacher.engine._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=row.max_tokens,
            do_sample=False,
            eos_token_id=sorted(teacher.engine._vocabulary.ends),
        )
        assert row.written == alone[0, len(row.prompt) :].tolist()


def test_an_answer_keeps_to_its_schema(teacher: Teacher) -> None:
    with ThreadPoolExecutor(6) as pool:
        requests = [ask("rate", temperature=1.0, max_tokens=60, response_format=FORMAT)] * 6
        for answer in pool.map(teacher.answer, requests):
            (choice,) = answer["choices"]
            found = json.loads(choice["message"]["content"])
            assert choice["finish_reason"] == "stop"
            assert 1 <= found["rating"] <= 10 and found["kind"] in ("good", "bad")


def test_a_failed_step_fails_its_rows_and_no_later_ones(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patch, pytest.raises(WritingError, match="no memory"):
        patch.setattr(teacher.engine._model, "forward", run_out)
        teacher.answer(ask("a"))
    assert teacher.answer(ask("a"))["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ([], "messages"),
        ({"messages": ["a"]}, "content"),
        (ask("a" * 200), "the context holds 96"),
        (ask("a", max_tokens="many"), "numbers"),
        (ask("a", response_format={"type": "json_object"}), "json_schema"),
        (ask("a", response_format={"json_schema": {"schema": {"type": "odd"}}}), "cannot be used"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(teacher: Teacher, body: Any, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        teacher.answer(body)


def test_the_server_answers_as_openai_does(teacher: Teacher) -> None:
    with TeacherServer(teacher, 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
            answer = client.post("/v1/chat/completions", json=ask("a", max_tokens=3)).json()
            refused = client.post("/v1/chat/completions", content=b"{")
            models = client.get("/v1/models").json()
        server.shutdown()
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    assert (refused.status_code, list(refused.json())) == (400, ["error"])
    assert models["data"][0]["id"] == "tiny"


def test_what_llama_cpp_cuts_off_is_never_drawn() -> None:
    chances = torch.tensor([[0.5, 0.44, 0.02, 0.02, 0.02]]).repeat(200, 1)
    drawn = draw(chances.log(), torch.full((200,), 5.0), torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {0, 1}, "top_p would keep the third; min_p does not"
    assert draw(chances.log(), torch.zeros(200), torch.Generator()).tolist() == [0] * 200


def test_bits_name_the_tokens_that_are_allowed() -> None:
    allowed = torch.tensor([[1 << 3 | -(1 << 31), 2]], dtype=torch.int32)
    kept = forbid(torch.zeros(1, 40), allowed).isfinite()[0].nonzero().flatten().tolist()
    assert kept == [3, 31, 33]


def test_a_row_ends_once() -> None:
    row = Row([1, 2], max_tokens=2, temperature=0.0)
    for token in (5, 6, 7):
        row.add(token, ENDLESS)
    assert (row.written, row.done.result()) == ([5, 6], "length")
