"""The settings of data generation: how much is written, from what, and which of it is kept."""

from typing import Literal

from pydantic import Field, field_validator

from pada_agent.core.plugins import RECIPES, find_missing
from pada_agent.core.recipes import BUILT_IN as BUILT_IN_RECIPES
from pada_agent.core.settings import Settings

StrategyText = Literal["by_label", "whole", "none"]


class GenerationConfig(Settings):
    """How much synthetic data is generated, from what, and how."""

    share: float = Field(default=0.5, gt=0)
    """Target number of synthetic rows per training row (paper: 0.5). Only rows that join the training data count, not every row requested."""
    pattern_share: float = Field(default=0.5, ge=0, le=1)
    """Fraction of the synthetic rows that comes from the pattern branch; the rest comes from training errors. 0 or 1 switches one branch off. Our
    default: half and half."""
    sources: Literal["training_errors", "training_rows", "held_back"] = "training_errors"
    """What the training-error branch starts from: `training_errors` (wrongly answered rows), `training_rows` (any of them), or `held_back`: real
    rows, which join the training data as they are."""
    template: str = Field(default="training_error_generation", json_schema_extra={"examples": list(BUILT_IN_RECIPES)})
    """Prompt of the training-error branch: `training_error_generation`, `contrast_generation` (shows correctly answered rows next to each error),
    `similar_item_generation`, `rephrasing` (rewrites the question and copies the rest), or a recipe from another package (entry point group
    `pada_agent.recipes`)."""
    n_contrasts: int = Field(default=3, ge=1)
    """Number of correctly answered training rows, the nearest ones, that `contrast_generation` shows next to each error (LLMs-as-Instructors: 3)."""
    n_demonstrations: int = Field(default=3, ge=0)
    """Number of training rows with the source row's label that the pattern-guided writer also sees; closed label sets only. Our default: 3
    (docs/adr/0010)."""
    n_shown_labels: int = Field(default=0, ge=0, le=100)
    """Number of other labels whose training rows the writer of either branch sees as its own earlier answers; closed label sets only, and rows
    without turns of their own before the question. It then takes length and tone from them, where a weak writer otherwise writes like an assistant
    (docs/adr/0018). Each label costs about 150 tokens a call. The prompt is then shorter, and does not show the student's wrong answers."""
    vary_answers: bool = True
    """For tasks whose correct answers can be built by code, let code vary the answers, so that the writer only words the questions. For `sql`, code
    changes the query of a training row (other values, another column, another property of what is found, lowest instead of highest, a list instead
    of its count, another row's query in place of a value) or makes a simple one on the same tables, and runs it on the database (docs/sql.md). If
    false, the writer writes both, as in the paper and in the other published methods (docs/adr/0015)."""
    reword: bool = True
    """Whether the writer rewords the questions that code made along with varied answers (`vary_answers`). If false, they
    are used as they are: no call, nearly always right, in the words of the training questions, and sometimes clumsy. A strong writer words more
    naturally; a weak one also changes what is asked (docs/adr/0015)."""
    solved_share: float = Field(default=0, ge=0, le=1)
    """Fraction of the calls that write questions alone, going on from real ones. Each question is then answered by the writer several times, beside
    the training rows most like it, and becomes a row if its answers agree (self-consistency, arXiv 2203.11171). For `sql` and numeric tasks. These
    rows ask for more than code can derive, in people's own words, but an answer may be wrong although all agree (docs/adr/0021). Our default: 0."""
    solver_votes: int = Field(default=3, ge=1, le=50)
    """Number of answers, at most, to each question of `solved_share`. More than half have to agree with the first; as soon as that is decided, no
    more are asked for."""
    solver_examples: int = Field(default=6, ge=0, le=100)
    """Number of training rows that the writer sees with each question of `solved_share`: those with the nearest questions."""
    pattern_sources: Literal["near", "random"] = "near"
    """Training rows that a pattern's synthetic rows are based on, for tasks without a closed label set: `near` takes rows whose questions are
    closest to the pattern's failures, `random` takes any (paper)."""
    strategy_text: StrategyText = "by_label"
    """What the writer and the judge see of a strategy. For closed label sets, `by_label` leaves out sentences that name only labels other than the
    rows' own. `whole` shows all of it (paper). `none` shows nothing of it, for analysts that are too small to find out why the student fails: the
    pattern still decides which training rows new rows are based on and, for closed label sets, which labels they are about and must be told from.
    See docs/adr/0018."""
    match_form: bool = True
    """Give written questions the form that all training questions share: lower case, or no punctuation mark at the end."""
    balance_labels: bool = True
    """For closed label sets, let the training-error branch begin with the labels that have the fewest new rows relative to their training rows.
    Top-up rounds count the rows of both branches. A student that gets many new rows of some labels and none of others gives the former too often
    (docs/adr/0020). If false, chance decides (paper)."""
    error_source: Literal["auto", "train", "margin", "out_of_fold"] = "auto"
    """How training errors are found; also applies to LE, LEC and LLM2LLM, but their native variants always use `train`. `train` uses the rows answered wrongly (paper). A student that has
    memorized its rows has few of these: `margin` adds rows where the right option leads the next by least (for answers chosen among options), and
    `out_of_fold` adds rows that students fine-tuned without them answer wrongly. `auto` uses wrong answers and, if they are too few, adds margins,
    or folds where there are no margins."""
    error_folds: int = Field(default=3, ge=0, le=20)
    """Number of parts into which `out_of_fold` splits the training rows. Each part costs one fine-tuning on the other parts, once per run. With 0,
    `auto` uses no folds."""
    max_rows_per_error: int | None = Field(default=3, ge=1)
    """Maximum number of synthetic rows based on one training error per iteration (spare rows may exceed it); any shortfall goes to the pattern branch. Our default: 3, because
    a row that the student cannot learn is often mislabeled. Null removes the limit (paper)."""
    max_top_ups: int = Field(default=8, ge=0)
    """Maximum number of extra rounds that replace rejected rows, using other training rows, until `share` is reached. A strategy, or the training
    errors, that gave no row in two rounds in a row is not asked again. 0 replaces none (paper)."""
    min_fill: float = Field(default=1, gt=0, le=1)
    """Fraction of the rows wanted in an iteration at which top-up rounds end. A round for the last few rows takes almost as long as one for many.
    Our default: 1, so that all methods of an experiment add equally many rows."""
    max_asked_per_row: float = Field(default=5, ge=1)
    """Maximum number of rows requested per row wanted, over all attempts and rounds, without spare rows; top-up rounds end here. Our default: 5, enough to fill the
    quota when one row in four passes."""
    rows_per_call: int = Field(default=5, ge=1)
    """Number of rows the generator writes in one call (the paper's B). Our default: 5."""
    spare_rows: float = Field(default=0, ge=0, le=10)
    """Number of spare rows that a call writes per row wanted, within `rows_per_call`. They take the place of rows that a check without a
    call rejects (format, repetition, label likelihood, held-out rows); where no check takes a call, also of other calls' rows, up to
    one and a half times a label's share. Those not needed are dropped. A spare row costs its own tokens, a call that replaces a rejected
    row costs a whole prompt. Our default: 0, as in the paper (measured in docs/adr/0018)."""
    temperature: float = Field(default=0.7, ge=0, le=2)
    """Sampling temperature of the generator (paper: 0.7)."""
    show_answer: bool = True
    """Show the training-error writer the right answer of its source row."""
    accumulate: bool = True
    """Keep the synthetic rows of earlier iterations in the training data."""
    near_duplicate_rouge: float = Field(default=0.85, gt=0, le=1)
    """ROUGE-L F score above which two questions count as near duplicates."""
    allocation: Literal["even", "by_repair"] = "even"
    """How rows are divided among strategies: `even` (paper), or `by_repair`, which gives more rows to patterns whose last strategy repaired a larger
    share of their rows."""

    def count_rows(self, n_train: int) -> int:
        """Number of synthetic rows that should join the training data in each iteration."""
        return round(n_train * self.share)

    @property
    def written_share(self) -> float:
        """Fraction of the rows to add that an LLM writes: beside real rows, those of the patterns."""
        return self.pattern_share if self.sources == "held_back" else 1.0

    @property
    def reads_training_errors(self) -> bool:
        """Whether rows are written from the student's wrong answers on D_train, or from rows that replace them."""
        return self.sources == "training_errors" and self.pattern_share < 1

    @property
    def max_rows_per_source(self) -> int | None:
        """Maximum number of rows of the training-error branch that are based on one row in an iteration. None means no limit."""
        if self.sources != "training_errors":
            return None
        return self.max_rows_per_error

    @field_validator("template")
    @classmethod
    def _find_template(cls, template: str) -> str:
        if missing := find_missing(template, RECIPES, built_in=BUILT_IN_RECIPES):
            raise ValueError(missing)
        return template
