"""A finished run to report on."""

from pada_agent.core.records import BatchReport, Confusion, ErrorPattern, Metrics, Ref, Strategy, Usage
from pada_agent.graph.batch_rounds import sum_up
from pada_agent.graph.summary import (
    Comparison,
    IterationPatterns,
    ModelResult,
    PatternStrategy,
    RowCounts,
    RunSummary,
    Sample,
)

REPORT = BatchReport(
    batch_id="i1-s1-b1",
    iteration=1,
    branch="pattern",
    attempts=1,
    n_requested=5,
    n_written=5,
    n_accepted=3,
    decision="accepted",
    accepted=Ref(key="a", rows=3),
    rejected=Ref(key="r", rows=2),
)


def make_summary(**changes: object) -> RunSummary:
    """Three models, one pattern, one batch; its texts hold markup that a report must escape."""
    return _SUMMARY.model_copy(update=changes)


def _measure(n: int, n_correct: int) -> Metrics:
    share = n_correct / n
    return Metrics(n=n, n_correct=n_correct, accuracy=share, low=share - 0.1, high=share + 0.1)


def _arm(name: str, iteration: int | None, n_correct: int, *, n_synthetic: int = 0, tested: bool = True) -> ModelResult:
    return ModelResult(
        name=name,
        iteration=iteration,
        n_train_rows=120 + n_synthetic if iteration is not None else 0,
        n_synthetic=n_synthetic,
        validation=_measure(100, n_correct),
        selection=_measure(50, n_correct // 2),
        test=_measure(200, 2 * n_correct) if tested else None,
        adapter=f"objects/fine-tune-{iteration}" if iteration is not None else None,
    )


_SUMMARY = RunSummary(
    name="demo",
    task="multiple_choice",
    student="smollm2-135m-instruct",
    config_hash="abc123",
    seed=7,
    models=(
        _arm("untouched", None, 20, tested=False),
        _arm("fine-tuned", 0, 50),
        _arm("iteration 1", 1, 60, n_synthetic=60),
    ),
    best_model="iteration 1",
    comparisons=(
        Comparison(
            before="fine-tuned",
            after="iteration 1",
            split="test",
            n=200,
            n_fixed=28,
            n_broken=8,
            difference=0.1,
            low=0.041,
            high=0.159,
            p_value=0.0012,
            verdict="gained",
        ),
    ),
    patterns=(
        IterationPatterns(
            iteration=1,
            patterns=(
                PatternStrategy(
                    pattern=ErrorPattern(
                        id="p1",
                        category_name="Refund <b>or</b> return",
                        error_pattern="Takes refunds for returns.",
                        example_ids=("v1", "v2"),
                        n_analyzed=2,
                        cluster=0,
                        confusions=(Confusion(gold="refund", predicted="return", count=2),),
                    ),
                    strategy=Strategy(
                        id="s1",
                        pattern_id="p1",
                        category_name="Refund or return",
                        strategy_name="Money back first",
                        generation_approach="Write messages that ask for money.",
                        key_elements=("an amount",),
                    ),
                ),
                PatternStrategy(
                    pattern=ErrorPattern(
                        id="p2",
                        category_name="Other",
                        error_pattern="Rest.",
                        example_ids=("v3",),
                        n_analyzed=1,
                        cluster=1,
                    )
                ),
            ),
        ),
    ),
    batches=(sum_up([REPORT], Ref(key="batches", rows=1)),),
    rows=RowCounts(requested=60, written=58, accepted=50, rejected={"label": 5, "duplicate": 3}),
    accepted_samples=(Sample(text="Where is my money?\n→ refund", reason="score 8.0", strategy="Money back first"),),
    rejected_samples=(Sample(text="<script>alert(1)</script>", reason="label: wrong option"),),
    redactions=("a held-out sentence",),
    usage={
        "generator": Usage(n_calls=12, n_cached=2, input_tokens=12_000, output_tokens=3_400, cost_usd=0.5),
        "judge": Usage(n_calls=12, input_tokens=20_000, output_tokens=1_000),
    },
    seconds_by_stage={"fine_tune": 3_725, "evaluate": 48, "prepare": 0.2},
    peak_memory_mb=2_048,
    warnings=("the judge is of the generator's family",),
    verdict="Augmentation helped.",
    adapter="objects/fine-tune-1",
    stop_reason="max_iterations reached",
)
