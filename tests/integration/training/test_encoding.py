"""A row as the student's tokens; students that cannot be loaded."""

from pathlib import Path

import pytest

from pada_agent.core.errors import ConfigError, DatasetError, TrainingError
from pada_agent.core.records import Turn
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder
from pada_agent.training.students import Student, load_student
from tests.integration.training.small_student import CPU, ROWS, SPEC, make_tokenizer

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


class TestEncoding:
    def test_only_the_answer_and_its_end_of_turn_are_learned(self, encoder: ChatEncoder, student: Student) -> None:
        row = encoder.training_row(ROWS[0], SPEC)
        learned = [label for label in row.labels if label != IGNORE_INDEX]
        assert student.tokenizer.decode(row.input_ids) == (
            "<|start|>system\nBe kind.<|end|>\n<|start|>user\nWhich colour is thing 0?<|end|>\n<|start|>assistant\nred<|end|>"
        )
        assert student.tokenizer.decode(learned) == "red<|end|>"
        assert row.labels[-len(learned) :] == row.input_ids[-len(learned) :]

    @pytest.mark.parametrize(
        ("system", "start"),
        [
            (None, "<|start|>system\nBe kind.<|end|>\n<|start|>user"),
            ("", "<|start|>system\n<|end|>\n<|start|>user"),
            ("Count.", "<|start|>system\nCount.<|end|>\n<|start|>user"),
        ],
    )
    def test_the_system_turn_is_the_default_the_shortest_or_the_given_one(
        self, student: Student, system: str | None, start: str
    ) -> None:
        prompt = ChatEncoder(student.tokenizer, system).prompt(ROWS[0])
        assert student.tokenizer.decode(prompt).startswith(start)

    def test_earlier_turns_and_the_rows_own_system_turn_are_seen_and_not_learned(self, student: Student) -> None:
        history = (Turn(role="user", content="Hi."), Turn(role="assistant", content="Yes?"))
        row = ROWS[0].model_copy(update={"system": "Be brief.", "history": history})
        encoder = ChatEncoder(student.tokenizer, "Count.")
        encoded = encoder.training_row(row, SPEC)
        assert student.tokenizer.decode(encoded.input_ids) == (
            "<|start|>system\nBe brief.<|end|>\n<|start|>user\nHi.<|end|>\n<|start|>assistant\nYes?<|end|>\n"
            "<|start|>user\nWhich colour is thing 0?<|end|>\n<|start|>assistant\nred<|end|>"
        )
        learned = [label for label in encoded.labels if label != IGNORE_INDEX]
        assert student.tokenizer.decode(learned) == "red<|end|>"
        assert encoded.input_ids[: len(encoder.prompt(row))] == encoder.prompt(row)
        assert encoder.answers(row, ("red", "blue"))[0] == learned[:-1]

    def test_a_long_row_is_refused_by_name(self, encoder: ChatEncoder) -> None:
        with pytest.raises(
            DatasetError, match=r"row 'r3' has 6\d prompt and 5 answer tokens, but lora.max_length is 20"
        ):
            encoder.training_row(ROWS[3], SPEC.model_copy(update={"max_length": 20}))

    @pytest.mark.parametrize("max_length", [6, 20, 60])
    def test_truncation_cuts_the_prompt_from_the_left_and_never_the_answer(
        self, encoder: ChatEncoder, max_length: int
    ) -> None:
        whole = encoder.training_row(ROWS[3], SPEC)
        cut = encoder.training_row(
            ROWS[3], SPEC.model_copy(update={"max_length": max_length, "on_too_long": "truncate"})
        )
        assert cut.input_ids == whole.input_ids[-max_length:]
        assert cut.labels == whole.labels[-max_length:]
        assert cut.labels[-5:] == cut.input_ids[-5:]
        assert cut.n_cut == len(whole.input_ids) - len(cut.input_ids)

    def test_an_empty_answer_is_refused_by_name(self, encoder: ChatEncoder) -> None:
        with pytest.raises(DatasetError, match="row 'r1' has an empty answer"):
            encoder.training_row(ROWS[1].model_copy(update={"answer": " "}), SPEC)

    def test_an_answer_that_does_not_fit_is_refused_even_when_truncating(self, encoder: ChatEncoder) -> None:
        with pytest.raises(DatasetError, match="'r3'"):
            encoder.training_row(ROWS[3], SPEC.model_copy(update={"max_length": 5, "on_too_long": "truncate"}))

    def test_a_tokenizer_without_chat_template_is_refused(self) -> None:
        tokenizer = make_tokenizer()
        tokenizer.chat_template = None
        with pytest.raises(ConfigError, match="no chat template"):
            ChatEncoder(tokenizer)

    def test_a_template_without_system_turn_is_used_without_one_or_refused(self) -> None:
        tokenizer = make_tokenizer()
        refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        tokenizer.chat_template = refuse + "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
        assert tokenizer.decode(ChatEncoder(tokenizer, "").prompt(ROWS[0])) == f"{ROWS[0].prompt}<|end|>"
        with pytest.raises(ConfigError, match="takes no system turn"):
            ChatEncoder(tokenizer, "Count.").prompt(ROWS[0])


class TestStudents:
    def test_a_missing_student_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"missing\.gguf does not exist"):
            load_student(str(tmp_path / "missing.gguf"), CPU)
        with pytest.raises(TrainingError, match="the folder is empty"):
            load_student(str(tmp_path), CPU)

    def test_a_damaged_gguf_is_named_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        (tmp_path / "bad.gguf").write_bytes(b"not a gguf")
        with pytest.raises(TrainingError, match=r"bad\.gguf cannot be converted"):
            load_student(str(tmp_path / "bad.gguf"), CPU)
        assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]
