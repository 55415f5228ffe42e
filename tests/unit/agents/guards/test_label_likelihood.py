"""A row's label seen from the training rows, over an embedder that counts words."""

from pada_agent.agents.data_generation.generate import Assignment
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.agents.guards.guard import GuardContext
from pada_agent.agents.guards.label_likelihood import LabelLikelihood, LabelRank, rank_labels
from pada_agent.core.config import QualityConfig, RunConfig, TaskConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Draft, Example, Provenance
from pada_agent.evaluation.tasks.registry import make_task
from tests.toy_world import WordCountEmbedder

TASK = make_task(
    TaskConfig(name="multiple_choice", labels={"power": "no current", "money": "bills", "login": "accounts"})
)
TEXTS = {
    "power": ("the lights went out", "no current in the house", "the lights flicker in the house"),
    "money": ("the bill is too high", "a charge on the bill", "why this charge"),
    "login": ("the password fails", "a new password please", "the app wants a password"),
}


def read(text: str, label: str, name: str) -> Example:
    return TASK.read(RawRow(where="t:1", fields={"id": name, "question": text, "answer": label}))


TRAINING = [read(text, label, f"{label}-{n}") for label, texts in TEXTS.items() for n, text in enumerate(texts)]


def test_a_label_ranks_by_the_training_rows_that_are_like_the_row() -> None:
    rows = [read("my password fails", "login", "a"), read("my password fails", "power", "b")]
    right, wrong = rank_labels(rows, TRAINING, task=TASK, embedder=WordCountEmbedder())
    assert right == LabelRank(1, "login")
    assert wrong is not None and wrong.rank > 1 and wrong.likeliest == "login"


def test_a_label_is_known_by_its_name_and_definition_as_much_as_by_its_rows() -> None:
    known = [e for e in TRAINING if e.answer != "money"]
    rows = [read("bills", "money", "a"), read("bills and money", "power", "b"), read("no current", "money", "c")]
    ranks = rank_labels(rows, known, task=TASK, embedder=WordCountEmbedder())
    assert [rank and (rank.rank == 1, rank.likeliest) for rank in ranks] == [
        (True, "money"),
        (False, "money"),
        (False, "power"),
    ]
    assert rank_labels(rows, [], task=TASK, embedder=WordCountEmbedder())[0] == LabelRank(1, "money"), "no row at all"


def test_a_label_without_a_definition_is_known_by_its_name() -> None:
    bare = make_task(TaskConfig(name="multiple_choice", labels=["power", "money"]))
    row = bare.read(RawRow(where="t:1", fields={"id": "x", "question": "my money", "answer": "money"}))
    assert rank_labels([row], [], task=bare, embedder=WordCountEmbedder()) == [LabelRank(1, "money")]


def test_open_answers_are_not_ranked() -> None:
    task = make_task(TaskConfig(name="exact_match"))
    row = task.read(RawRow(where="t:1", fields={"id": "x", "question": "what", "answer": "that"}))
    assert rank_labels([row], [row, row], task=task, embedder=WordCountEmbedder()) == [None]


def test_a_draft_that_strays_from_its_label_goes_back_with_what_it_reads_like() -> None:
    def draft(row: int, text: str) -> Draft:
        origin = Provenance(branch="pattern", iteration=1, batch_id="b", attempt=1, source_id="power-0", row=row)
        return Draft(row=row, fields={"question": text}, provenance=origin)

    settings = RunConfig(quality=QualityConfig(max_label_rank=1))
    verified = verify_drafts(
        [draft(0, "no lights in my house"), draft(1, "my password fails again")],
        [Assignment(row=n, source=TRAINING[0], given={"label": "power"}) for n in range(2)],
        task=TASK,
        guards=[
            LabelLikelihood(GuardContext(settings=settings, task=TASK, embedder=WordCountEmbedder(), training=TRAINING))
        ],
    )
    assert [c.prompt for c in verified.candidates] == ["no lights in my house"]
    (refused,) = verified.rejections
    assert refused.stage == "unlikely"
    assert refused.example is not None, "a person may overrule it"
    assert refused.reason == "reads like login, not like power"
