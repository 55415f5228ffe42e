from pathlib import Path

from pada_agent.core.records import Prediction
from pada_agent.graph.nodes.evaluating import read_predictions


def test_answers_with_line_separators_are_read_back_whole(tmp_path: Path) -> None:
    texts = ["keep\u2028it", "two\u2029parts", "next\x85line", "page\x0cend\x1e", "plain\nbreak", ""]
    predictions = [Prediction(example_id=str(i), response=text) for i, text in enumerate(texts)]
    (tmp_path / "predictions.jsonl").write_text(
        "".join(p.model_dump_json() + "\n" for p in predictions), encoding="utf-8", newline="\n"
    )
    assert read_predictions(tmp_path) == predictions
