"""Students of many architectures: scores, losses, gradients and texts equal those of plain transformers, a row at a time.

Tiny models with random weights. Rows are longer than the windows of those that have one.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pada_agent.core.errors import ConfigError, TrainingError
from pada_agent.core.jobs import FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.records import Example
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder, Encoded
from pada_agent.training.fine_tuning import backward, fine_tune
from pada_agent.training.generation.greedy import generate
from pada_agent.training.kernels.prefix_tree import pack, target_logprobs
from pada_agent.training.lora import attach_lora
from pada_agent.training.predicting import merge_adapter
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student, load_student, reads_one_way, save_tokenizer, try_out
from tests.tiny_models import save_student

pytestmark = [pytest.mark.filterwarnings("ignore")]

COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}

LONGROPE = {
    **{"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
    **{"factor": 8.0, "original_max_position_embeddings": 64},
}
"""Other angles beyond 64 tokens, which some rows reach while they are written."""
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": COMMON,
    "gemma3_text": {**COMMON, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "mistral": {**COMMON, "sliding_window": 16},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
        "max_position_embeddings": 512,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512},
    "lfm2": {**COMMON, "layer_types": ["conv", "full_attention"], "block_multiple_of": 16},
    "qwen3_5_text": {**COMMON, **LINEAR},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 512},
}
MORE: dict[str, dict[str, Any]] = {
    "gemma4_text": COMMON,
    "gemma3n_text": {
        **COMMON,
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 16,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 300,
        "laurel_rank": 4,
        "num_kv_shared_layers": 0,
        "intermediate_size": [48, 48],
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "doge": COMMON,
    "mixtral": {**COMMON, "num_local_experts": 4, "num_experts_per_tok": 2},
    "jetmoe": {**COMMON, "num_local_experts": 4, "num_experts_per_tok": 2},
    "phimoe": {**COMMON, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {**COMMON, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16},
    "phi3 with longrope": {**COMMON, "rope_parameters": LONGROPE, "original_max_position_embeddings": 64},
    **dict.fromkeys(("qwen2", "qwen3", "gemma", "phi", "phi3", "olmo2", "smollm3", "granite", "cohere"), COMMON),
    **dict.fromkeys(("stablelm", "starcoder2", "gpt_neox"), COMMON),
    "gemma2": {**COMMON, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "gpt2": GPT2,
    "gptj": {**GPT2, "rotary_dim": 4},
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "word_embed_proj_dim": 32,
    },
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "falcon with alibi": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True},
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "state_size": 8,
        "num_heads": 4,
        "head_dim": 16,
        "n_groups": 1,
    },
    "falcon_h1": {**COMMON, **MAMBA, "mamba_d_ssm": 32, "mamba_n_heads": 4},
    "granitemoehybrid": {
        **COMMON,
        **MAMBA,
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 0,
        "shared_intermediate_size": 48,
    },
    "bamba": {**COMMON, **MAMBA, "attn_layer_indices": [1]},
    "jamba": {
        **COMMON,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "num_experts": 1,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "recurrent_gemma": {
        **COMMON,
        "lru_width": 32,
        "attention_window_size": 64,
        "block_types": ["recurrent", "attention"],
    },
    "qwen3_next": {
        **COMMON,
        **LINEAR,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
}
EVERY = [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
ROWS = [
    Example(id=str(i), prompt=question, answer="not at all", options=("yes", "not at all"))
    for i, question in enumerate(
        (
            "Is the shop by the harbour open on Sunday?",
            "Is the shop by the church open on Monday, and who has the key to it when nobody is there?",
            "Do cats sleep?",
        )
    )
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("student") / "plain"
    save_student(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def student(request: pytest.FixtureRequest, tokenizer: Any) -> Iterator[Student]:
    name = request.param
    settings = {
        **(FAMILIES | MORE)[name],
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "pad_token_id": 0,
    }
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split(" ")[0], **settings)).float().eval()
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data = torch.randn_like(parameter) * 0.3
    yield Student(source="tiny", model=model, tokenizer=tokenizer)


def logprob(model: Any, row: Encoded) -> torch.Tensor:
    """Sum over the row's targets, with nothing beside it."""
    logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0].float().log_softmax(-1)
    return sum((logits[i, t] for i, t in enumerate(row.labels[1:]) if t != IGNORE_INDEX), torch.zeros(()))


@pytest.mark.parametrize("student", EVERY, indirect=True)
def test_it_reads_its_texts_from_left_to_right(student: Student) -> None:
    assert reads_one_way(*try_out(student.model))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bert", COMMON),
        ("roformer", COMMON),
        ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}),
        ("xlm", {"emb_dim": 32, "n_layers": 2, "n_heads": 4}),
    ],
)
def test_a_model_that_sees_the_answer_it_should_learn_to_write_is_refused(
    name: str, settings: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, vocab_size=len(tokenizer), **settings)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data = torch.randn_like(parameter) * 0.3
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"is of the kind '{name}', which does not write texts from left to right"):
        load_student(str(tmp_path), torch.device("cpu"))


def test_a_model_that_is_no_writer_is_refused_before_it_is_loaded(tokenizer: Any, tmp_path: Path) -> None:
    AutoConfig.for_model("t5").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"is of the kind 't5', .* Set student\.model to a causal language model"):
        save_tokenizer(str(tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["mistral3", "qwen3_vl"])
def test_a_model_that_also_reads_images_is_called_so(name: str, tokenizer: Any, tmp_path: Path) -> None:
    AutoConfig.for_model(name).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"is of the kind '{name}', which reads images as well as text"):
        save_tokenizer(str(tmp_path), tmp_path)


@pytest.mark.parametrize("student", EVERY, indirect=True)
def test_option_scores_are_those_of_each_row_alone(student: Student, tokenizer: Any) -> None:
    encoder = ChatEncoder(tokenizer)
    predictions = score_options(student, encoder, ROWS, on_done=lambda _: None)
    for row, prediction in zip(ROWS, predictions, strict=True):
        prompt = encoder.prompt(row)
        with torch.no_grad():
            alone = [
                logprob(student.model, Encoded(prompt + answer, [IGNORE_INDEX] * len(prompt) + answer)) / len(option)
                for answer, option in zip(encoder.answers(row, row.options), row.options, strict=True)
            ]
        assert prediction.option_scores == pytest.approx([float(score) for score in alone], abs=1e-4)


@pytest.mark.parametrize("student", EVERY, indirect=True)
def test_rows_that_are_packed_together_are_still_read_alone(student: Student, tokenizer: Any) -> None:
    rows = [ChatEncoder(tokenizer).training_row(row, LoraSpec()) for row in ROWS]
    (one,) = pack(rows, 10_000, student.model.device)
    with torch.no_grad():
        ours = torch.zeros(len(rows)).index_add(0, one.owners, target_logprobs(student.model, one))
        alone = torch.stack([logprob(student.model, row) for row in rows])
    assert torch.allclose(ours, alone, atol=1e-3)


@pytest.mark.parametrize("student", EVERY, indirect=True)
def test_loss_and_gradients_are_those_of_each_row_alone(student: Student, tokenizer: Any) -> None:
    rows = [ChatEncoder(tokenizer).training_row(row, LoraSpec()) for row in ROWS]
    n_targets = sum(label != IGNORE_INDEX for row in rows for label in row.labels)
    ours = float(backward(student.model, rows, max_pack_tokens=512))
    gradients = {n: p.grad.clone() for n, p in student.model.named_parameters() if p.grad is not None}
    student.model.zero_grad()
    loss = -sum(logprob(student.model, row) for row in rows) / n_targets
    loss.backward()
    assert ours == pytest.approx(float(loss), abs=1e-4)
    for name, parameter in student.model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(gradients[name], parameter.grad, atol=1e-4), name


@pytest.mark.parametrize("student", EVERY, indirect=True)
def test_texts_are_those_of_generate_for_each_row_alone(student: Student, tokenizer: Any) -> None:
    encoder = ChatEncoder(tokenizer)
    written = [row.model_copy(update={"options": ()}) for row in ROWS]
    job = PredictJob(student="x", rows="x", rows_hash="x", max_new_tokens=24, batch_size=3)
    ours = generate(student, encoder, written, job=job, on_done=lambda _: None)
    ends = sorted({encoder.end_token_id, tokenizer.eos_token_id})
    greedy = GenerationConfig(max_new_tokens=24, do_sample=False, eos_token_id=ends, pad_token_id=ends[0])
    for row, prediction in zip(written, ours, strict=True):
        ids = torch.tensor([encoder.prompt(row)])
        out = student.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        new = [t for t in out[0, ids.shape[1] :].tolist() if t not in ends]
        assert prediction.response == tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("student", EVERY, indirect=True)
def test_a_student_that_was_just_trained_measures_what_plain_peft_does(
    student: Student, tokenizer: Any, tmp_path: Path
) -> None:
    untouched = copy.deepcopy(student.model)
    job = FineTuneJob(student="x", rows="r", rows_hash="h", lora=LoraSpec(rank=2, n_steps=3, learning_rate=0.02))
    fine_tune(student, job, ROWS, folder=tmp_path, on_progress=lambda _: None)
    encoder = ChatEncoder(tokenizer)
    predictions = score_options(merge_adapter(student, tmp_path), encoder, ROWS, on_done=lambda _: None)
    plain = PeftModel.from_pretrained(untouched, tmp_path).eval()
    changed = []
    for row, prediction in zip(ROWS, predictions, strict=True):
        prompt = encoder.prompt(row)
        for answer, option, score in zip(
            encoder.answers(row, row.options), row.options, prediction.option_scores or (), strict=True
        ):
            alone = Encoded(prompt + answer, [IGNORE_INDEX] * len(prompt) + answer)
            with torch.no_grad():
                assert score == pytest.approx(float(logprob(plain, alone)) / len(option), abs=2e-3)
                with plain.disable_adapter():
                    changed.append(abs(float(logprob(plain, alone)) / len(option) - score))
    assert max(changed) > 0.01, "the adapter changes the scores"


@pytest.mark.parametrize("student", [pytest.param("doge", marks=pytest.mark.slow)], indirect=True)
def test_a_row_may_be_as_long_as_it_is_read_from_left_to_right(student: Student) -> None:
    assert student.context_tokens == COMMON["max_position_embeddings"] == 512
    student.model.config.keep_window_size = 16
    assert student.context_tokens == 16


@pytest.mark.parametrize("student", [pytest.param("mixtral", marks=pytest.mark.slow)], indirect=True)
def test_of_a_mixture_all_but_experts_and_routers_is_adapted(student: Student) -> None:
    job = FineTuneJob(student="x", rows="r", rows_hash="h", lora=LoraSpec(rank=2))
    with attach_lora(student, job) as adapted:
        assert {name.rpartition(".")[2] for name in adapted.targeted_module_names} == {
            *("q_proj", "k_proj", "v_proj", "o_proj")
        }


@pytest.mark.parametrize("student", ["mamba", pytest.param("falcon_h1", marks=pytest.mark.slow)], indirect=True)
def test_layers_that_an_adapter_cannot_reach_are_left_out_or_refused_by_their_setting(student: Student) -> None:
    def job(**lora: Any) -> FineTuneJob:
        return FineTuneJob(student="x", rows="r", rows_hash="h", lora=LoraSpec(rank=2, **lora))

    with attach_lora(student, job()) as adapted:
        targets = adapted.targeted_module_names
        assert targets and not [name for name in targets if name.endswith(("out_proj", "conv1d"))]
    with (
        pytest.raises(TrainingError, match=r"lora\.target_modules: .*out_proj"),
        attach_lora(student, job(target_modules="out_proj")),
    ):
        pass
