"""G1's unsloth arm. It is a separate program, because importing unsloth changes transformers and TRL, and it pins older versions.

Its batches are padded, because with a given collator it does not use padding-free ones.
Run by the Python that has unsloth (`PADA_UNSLOTH_PYTHON`), with the student's folder as its argument; needs nothing from this
project. Reads one request per line: `lora`, `seed`, `rows` of `input_ids` and `labels`, and `sampling`. Answers each with
`{"seconds": ..., "losses": [...]}`, not counting the time to load the model and to set up the trainer.
"""

import gc
import json
import os
import sys
import time
from typing import Any

import torch

MAX_LENGTH = 2048
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""All linear layers of Llama's family."""


def train(folder: str, request: dict[str, Any]) -> dict[str, Any]:
    """One fine-tuning from the model's own weights."""
    from unsloth import FastLanguageModel  # isort: skip  (it has to come before those that it changes)
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq
    from trl import SFTConfig, SFTTrainer

    lora, on_gpu = request["lora"], torch.cuda.is_available()
    model, tokenizer = FastLanguageModel.from_pretrained(
        folder, max_seq_length=MAX_LENGTH, dtype=torch.bfloat16 if on_gpu else torch.float32, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=LINEAR,
        bias="none",
        use_gradient_checkpointing=False,
        random_state=request["seed"],
    )
    config = SFTConfig(
        output_dir="/tmp/pada-bench",
        per_device_train_batch_size=lora["batch_size"],
        learning_rate=lora["learning_rate"],
        num_train_epochs=lora["epochs"],
        lr_scheduler_type=lora["scheduler"],
        bf16=on_gpu,
        use_cpu=not on_gpu,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
        max_length=MAX_LENGTH,
        train_sampling_strategy=request["sampling"],
        dataset_kwargs={"skip_prepare_dataset": True},
        # By default it would accumulate two batches, decay weights, warm up and use an 8-bit Adam.
        gradient_accumulation_steps=1,
        optim="adamw_torch_fused",
        weight_decay=0.0,
        warmup_steps=0,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(request["rows"]),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    del trainer, model
    gc.collect()
    torch.cuda.empty_cache()
    return {"seconds": seconds, "losses": losses}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print, in any language, must not come between the answers
    for line in sys.stdin:
        print(json.dumps(train(sys.argv[1], json.loads(line))), file=answers, flush=True)
