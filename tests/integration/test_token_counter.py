"""Tokens counted before anything is trained, by a tokenizer that the worker hands over."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.adapters.compute.token_counter import StudentTokenCounter
from pada_agent.core.errors import ArtifactError, ConfigError, DatasetError, TrainingError
from pada_agent.core.jobs import TOKENIZER_FACTS, ChatSpec, LoraSpec, PredictJob, TokenizerJob
from pada_agent.core.records import Example
from tests.tiny_models import TEMPLATE, save_gguf_student, save_student

ROWS = [
    Example(id="a", prompt="Is it open?", answer="yes"),
    Example(id="b", prompt="What is <|end|>?\n<|start|>system", answer="It ends a turn: <|end|>", system="Be kind."),
]


@pytest.fixture(scope="module")
def compute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCompute]:
    folder = tmp_path_factory.mktemp("compute")
    compute = LocalCompute(folder / "objects", folder / "worker.log", device="cpu", threads=1)
    yield compute
    compute.close()


@pytest.fixture(scope="module", params=["folder", "gguf"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    return save_student(folder / "student") if request.param == "folder" else save_gguf_student(folder)


def count_tokens(compute: LocalCompute, student: str, chat: ChatSpec, **job: Any) -> StudentTokenCounter:
    return StudentTokenCounter(compute, TokenizerJob(student=student, **job), chat)


LED = TEMPLATE.replace("{{ m.content }}", "{% if m.role == 'assistant' %}final: {% endif %}{{ m.content }}")
"""Puts a text between prompt and answer."""


@pytest.mark.parametrize(
    "chat",
    [ChatSpec(), ChatSpec(system="Be short."), ChatSpec(template="{{ eos_token }}" + TEMPLATE), ChatSpec(template=LED)],
)
def test_counts_are_those_of_the_rows_that_are_trained_on(student: Path, chat: ChatSpec, compute: LocalCompute) -> None:
    import torch

    from pada_agent.training.students import load_student

    counter = count_tokens(compute, str(student), chat)
    encoder = load_student(str(student), torch.device("cpu")).encode_by(chat)
    for row in ROWS:
        encoded = encoder.training_row(row, LoraSpec())
        count = counter.count(row)
        assert (count.prompt, count.total) == (len(encoder.prompt(row)), len(encoded.input_ids))
        assert counter.count_text(row.answer) == count.answer - 1
        asked = counter.count_asked(row)
        assert (asked.prompt, asked.answer) == (count.prompt, count.answer)
        chosen = row.model_copy(update={"options": ("no", "yes, it is", "<|end|>")})
        longest = max(map(len, encoder.answers(chosen, chosen.options)))
        assert counter.count_asked(chosen).answer == longest == len(chosen.options[1]) + len(encoder.lead(row))
    assert (counter.rendering, counter.warnings) == (2 if chat.template == LED else 1, [])
    assert counter.context_tokens == 512


@pytest.mark.parametrize(
    ("kept", "expected"), [("generation_config.json", ["<|pad|>"]), ("config.json", ["<|start|>"]), ("", [])]
)
def test_the_ends_are_those_that_the_loaded_model_knows(
    kept: str, expected: list[str], tmp_path: Path, compute: LocalCompute
) -> None:
    """Named by generation settings, else by the model's own, else by the tokenizer alone."""
    import json

    import torch

    from pada_agent.training.students import load_student

    student = save_student(tmp_path / "student")
    ids = {"generation_config.json": 258, "config.json": 256}
    for name in ids:
        settings = json.loads((student / name).read_text())
        settings["eos_token_id"] = ids[name] if name == kept else None
        (student / name).write_text(json.dumps(settings))
    if kept != "generation_config.json":
        (student / "generation_config.json").unlink()
    encoder = load_student(str(student), torch.device("cpu")).encode_by(ChatSpec())
    counter = count_tokens(compute, str(student), ChatSpec())
    names = encoder._tokenizer.convert_ids_to_tokens(sorted(encoder.stop_token_ids))
    assert set(names) == {"<|end|>", *expected}
    assert counter._chats.stop_token_ids == encoder.stop_token_ids
    assert counter._chats.end_token_id == encoder.end_token_id


def test_a_row_that_cannot_be_learned_is_named(student: Path, compute: LocalCompute) -> None:
    counter = count_tokens(compute, str(student), ChatSpec())
    with pytest.raises(DatasetError, match="row 'a' has an empty answer"):
        counter.count(ROWS[0].model_copy(update={"answer": ""}))


def test_the_prompt_is_shown_as_the_student_gets_it(student: Path, compute: LocalCompute) -> None:
    shown = count_tokens(compute, str(student), ChatSpec()).show(ROWS[1])
    assert shown.startswith("<|start|>system\nBe kind.<|end|>\n<|start|>user\nWhat is <|end|>?")


def test_a_student_that_is_not_there_is_one_clear_error(tmp_path: Path, compute: LocalCompute) -> None:
    counter = count_tokens(compute, str(tmp_path / "none"), ChatSpec())
    with pytest.raises(TrainingError, match="cannot be loaded"):
        counter.count(ROWS[0])


def test_a_student_that_needs_code_of_its_own_fails_at_once(tmp_path: Path, compute: LocalCompute) -> None:
    """Nobody is asked on a terminal, and the code does not run."""
    import json

    student = save_student(tmp_path / "student")
    ran = tmp_path / "ran"
    (student / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    config = json.loads((student / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (student / "config.json").write_text(json.dumps(config))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(ROWS[0].model_dump_json() + "\n")
    job = PredictJob(student=str(student), rows=str(rows), rows_hash="h", max_new_tokens=2)
    with pytest.raises(ConfigError, match=r"needs code of its own.* Set student\.model"):
        compute.wait(compute.submit(job), lambda _: None)
    with pytest.raises(ConfigError, match="needs code of its own"):
        count_tokens(compute, str(student), ChatSpec()).count(ROWS[0])
    assert not ran.exists()


def test_damaged_facts_are_named_with_the_way_out(student: Path, compute: LocalCompute) -> None:
    counter = count_tokens(compute, str(student), ChatSpec())
    folder = counter._folder
    (folder / TOKENIZER_FACTS).write_text("")
    way_out = f"Delete the folder {folder}, then run the same command again."
    with pytest.raises(ArtifactError, match=rf"{TOKENIZER_FACTS}: damaged \(.*\)\. {re.escape(way_out)}$"):
        counter.count(ROWS[0])
    shutil.rmtree(folder)
    assert count_tokens(compute, str(student), ChatSpec()).count(ROWS[0]).answer


def test_counting_imports_no_torch(student: Path, compute: LocalCompute, tmp_path: Path) -> None:
    count_tokens(compute, str(student), ChatSpec()).count(ROWS[0])
    (tmp_path / "row.json").write_text(ROWS[0].model_dump_json())
    folder = next(p for p in sorted(Path(compute._objects).glob("tokenizer-*")))
    code = (
        "import sys; from pathlib import Path\n"
        "from pada_agent.app.adapters.compute.token_counter import read_tokenizer\n"
        "from pada_agent.core.records import Example\n"
        "from pada_agent.evaluation.chat_tokenizer import ChatTokenizer\n"
        f"chats = ChatTokenizer(read_tokenizer(Path({str(folder)!r})))\n"
        f"chats.learned(Example.model_validate_json(Path({str(tmp_path / 'row.json')!r}).read_text()))\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_layers_that_the_student_does_not_have_are_refused_before_its_weights_are_loaded(
    student: Path, compute: LocalCompute
) -> None:
    counter = count_tokens(compute, str(student), ChatSpec(), target_modules="q_proj, v_prj")
    with pytest.raises(TrainingError, match=r"lora\.target_modules: v_prj is not .* It has: .*q_proj.* mean 'v_proj'"):
        counter.count(ROWS[0])
    assert count_tokens(compute, str(student), ChatSpec(), target_modules="q_proj, v_proj").count(ROWS[0]).answer == 4


def test_rows_that_were_once_split_in_another_way_have_results_of_their_own(
    tmp_path: Path, compute: LocalCompute
) -> None:
    file = save_gguf_student(tmp_path, splitting="smollm", words=["ĊĊ"], merges=["t h", "Ċ Ċ"])
    counter = count_tokens(compute, str(file), ChatSpec(), reading=2)
    assert counter.rendering == 2
    assert count_tokens(compute, str(file), ChatSpec(template=LED), reading=2).rendering == 3
    assert counter.count_text("\n\n1") == 2
