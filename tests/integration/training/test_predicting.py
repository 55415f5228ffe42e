"""Scores and texts of a real, small student."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pada_agent.core.errors import DatasetError, TrainingError
from pada_agent.core.jobs import ChatSpec, PredictJob
from pada_agent.training.encoding import ChatEncoder, join
from pada_agent.training.generation.one_by_one import write_alone
from pada_agent.training.generation.stopping import Stops, encode_rows
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student, load_student
from tests.integration.training.small_student import (
    CPU,
    OPEN_ROWS,
    ROWS,
    answer,
    assert_same_weights,
    copy_weights,
    logprobs_alone,
)

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


class TestPredicting:
    def test_scores_equal_those_of_single_sequences_by_characters(self, student: Student, encoder: ChatEncoder) -> None:
        predictions = score_options(student, encoder, ROWS, on_done=lambda _: None)
        for row, prediction in zip(ROWS, predictions, strict=True):
            with torch.inference_mode():
                expected = [
                    logprobs_alone(student.model, join(encoder.prompt(row), tokens)).sum().item() / len(option)
                    for tokens, option in zip(encoder.answers(row, row.options), row.options, strict=True)
                ]
            assert prediction.option_scores == pytest.approx(expected, abs=1e-4)
            assert prediction.response == row.options[max(range(4), key=expected.__getitem__)]

    def test_options_are_scored_after_what_the_template_puts_before_an_answer(self, student: Student) -> None:
        """As the student sees them in training; what is the same for all options does not favor the long ones."""
        lead = "{% if m.role == 'assistant' %}final: {% endif %}{{ m.content }}"
        template = str(student.tokenizer.chat_template).replace("{{ m.content }}", lead)
        encoder = ChatEncoder(student.tokenizer, chat=ChatSpec(template=template))
        given = student.tokenizer("final: ", add_special_tokens=False)["input_ids"]
        predictions = score_options(student, encoder, ROWS[:2], on_done=lambda _: None)
        for row, prediction in zip(ROWS[:2], predictions, strict=True):
            prompt = encoder.prompt(row) + given
            options = [encoder.learned(row.model_copy(update={"answer": o}))[len(given) : -1] for o in row.options]
            with torch.inference_mode():
                expected = [
                    logprobs_alone(student.model, join(prompt, tokens)).sum().item() / len(option)
                    for tokens, option in zip(options, row.options, strict=True)
                ]
            assert prediction.option_scores == pytest.approx(expected, abs=1e-4)
        with pytest.raises(DatasetError, match="'r0' has an empty option"):
            score_options(student, encoder, [ROWS[0].model_copy(update={"options": ("a", "")})], on_done=lambda _: None)

    def test_an_empty_option_is_refused_by_name(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="'r0' has an empty option"):
            answer(student, tmp_path, [ROWS[0].model_copy(update={"options": ("a", "")})])

    @pytest.mark.parametrize("batch_size", [1, 4, 16])
    def test_batched_texts_equal_single_row_generate(
        self, student: Student, encoder: ChatEncoder, adapter: Path, tmp_path: Path, batch_size: int
    ) -> None:
        predictions = answer(student, tmp_path, OPEN_ROWS, adapter=str(adapter), batch_size=batch_size)
        model = PeftModel.from_pretrained(student.model, str(adapter))
        for row, prediction in zip(OPEN_ROWS, predictions, strict=True):
            prompt = torch.tensor([encoder.prompt(row)])
            mask = torch.ones_like(prompt)
            output = model.generate(
                input_ids=prompt,
                attention_mask=mask,
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=[2, 3],
                pad_token_id=0,
            )
            new = output[0, prompt.shape[1] :].tolist()
            assert prediction.response == student.tokenizer.decode(new, skip_special_tokens=True)
            assert prediction.truncated == (new[-1] not in (2, 3))
            assert prediction.n_new_tokens == len(new) - (new[-1] in (2, 3))
        assert not all(prediction.truncated for prediction in predictions)

    def test_a_limit_in_mid_answer_is_recorded(self, student: Student, adapter: Path, tmp_path: Path) -> None:
        predictions = answer(student, tmp_path, OPEN_ROWS, adapter=str(adapter), max_new_tokens=2)
        assert all(p.truncated and p.n_new_tokens == 2 for p in predictions)

    def test_generation_ends_before_a_stop_string(self, student: Student, adapter: Path, tmp_path: Path) -> None:
        whole = answer(student, tmp_path / "whole", OPEN_ROWS, adapter=str(adapter))
        cut = answer(student, tmp_path / "cut", OPEN_ROWS, adapter=str(adapter), stop=("ee", "l"))
        assert [p.response for p in cut] == [p.response.split("ee")[0].split("l")[0] for p in whole]
        assert any(c != w for c, w in zip(cut, whole, strict=True))

    def test_a_prompt_beyond_the_context_is_refused_by_name(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"'r0'.*context of 512"):
            answer(student, tmp_path, [OPEN_ROWS[0]], max_new_tokens=500)

    def test_rows_keep_their_order_whether_they_choose_or_write(self, student: Student, tmp_path: Path) -> None:
        mixed = [ROWS[0], OPEN_ROWS[5], ROWS[2], OPEN_ROWS[1]]
        predictions = answer(student, tmp_path, mixed)
        assert [p.example_id for p in predictions] == ["r0", "r5", "r2", "r1"]
        assert [len(p.option_scores) for p in predictions] == [4, 0, 4, 0]

    def test_merging_leaves_the_base_weights_unchanged(self, student: Student, adapter: Path, tmp_path: Path) -> None:
        before = copy_weights(student)
        untouched = answer(student, tmp_path / "1", OPEN_ROWS)
        merged = answer(student, tmp_path / "2", OPEN_ROWS, adapter=str(adapter))
        assert_same_weights(student, before)
        assert answer(student, tmp_path / "3", OPEN_ROWS) == untouched != merged

    def test_the_adapter_loads_with_plain_peft_and_scores_the_same(
        self, student_folder: Path, student: Student, encoder: ChatEncoder, adapter: Path, tmp_path: Path
    ) -> None:
        ours = answer(student, tmp_path, ROWS, adapter=str(adapter))
        base = AutoModelForCausalLM.from_pretrained(student_folder, dtype=torch.float32)
        plain = replace(student, model=PeftModel.from_pretrained(base, str(adapter)).eval())
        theirs = score_options(plain, encoder, ROWS, on_done=lambda _: None)
        assert [p.response for p in ours] == [p.response for p in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.option_scores == pytest.approx(other.option_scores, abs=1e-4)

    @pytest.mark.parametrize(
        "settings",
        [{"repetition_penalty": 1.3}, {"num_beams": 4}, {"no_repeat_ngram_size": 3}, {"stop_strings": ["e"]}],
        ids=str,
    )
    def test_the_students_own_generation_settings_change_no_text(
        self, student_folder: Path, tmp_path: Path, settings: dict[str, Any]
    ) -> None:
        changed = Path(shutil.copytree(student_folder, tmp_path / "changed"))
        path = changed / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        plain, other = (self.write_alone(load_student(str(folder), CPU)) for folder in (student_folder, changed))
        assert plain == other

    def write_alone(self, student: Student) -> list[list[int]]:
        encoder = student.encode_by(ChatSpec())
        job = PredictJob(student="s", rows="rows.jsonl", rows_hash="h", max_new_tokens=12)
        rows = encode_rows(encoder, OPEN_ROWS[:3], max_new_tokens=12, context_tokens=512)
        write_alone(student, rows, Stops(student.tokenizer, job, encoder.stop_token_ids), on_done=lambda _: None)
        return [row.new for row in rows]

    def test_a_folder_that_is_no_adapter_is_refused(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="does not load on student"):
            answer(student, tmp_path, ROWS, adapter=str(tmp_path))
