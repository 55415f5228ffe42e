from pathlib import Path

import pytest

from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Prediction
from pada_agent.graph.storing import read_output


def test_answers_with_line_separators_are_read_back_whole(tmp_path: Path) -> None:
    texts = ["keep\u2028it", "two\u2029parts", "next\x85line", "page\x0cend\x1e", "plain\nbreak", ""]
    predictions = [Prediction(example_id=str(i), response=text) for i, text in enumerate(texts)]
    (tmp_path / "predictions.jsonl").write_text(
        "".join(p.model_dump_json() + "\n" for p in predictions), encoding="utf-8", newline="\n"
    )
    assert read_output(tmp_path / "predictions.jsonl", Prediction, n=len(predictions)) == predictions


@pytest.mark.parametrize("text", [None, "", '{"example_id": "1"', "\x00" * 9, '{"example_id": "1", "response": "x"}\n'])
def test_damaged_answers_are_named_with_the_way_out(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "predictions.jsonl").write_text(text)
    with pytest.raises(ArtifactError, match=r"predictions\.jsonl: (missing|damaged).*Delete the folder"):
        read_output(tmp_path / "predictions.jsonl", Prediction, n=2)
