"""Small models of many architectures, with random weights and a real tokenizer: real code, numbers of no meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PASSAGES

HIDDEN = 32
_COMMON = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
# Larger than a model's first weights, so that vectors of different texts differ.
_SPREAD = {"initializer_range": 0.2}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**_COMMON, **_SPREAD, "max_position_embeddings": 96},
    # Positions count from behind the padding token's number, 1: 98 positions are 96 tokens.
    "roberta": {**_COMMON, **_SPREAD, "max_position_embeddings": 98, "type_vocab_size": 1, "pad_token_id": 1},
    "xlm-roberta": {**_COMMON, **_SPREAD, "max_position_embeddings": 98, "type_vocab_size": 1, "pad_token_id": 1},
    "mpnet": {**_COMMON, **_SPREAD, "max_position_embeddings": 98, "pad_token_id": 1},
    "distilbert": {
        "dim": HIDDEN, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 96, **_SPREAD,
    },
    "modernbert": {
        **_COMMON, "max_position_embeddings": 4096, "local_attention": 32, "global_attn_every_n_layers": 2,
        "initializer_cutoff_factor": 2.0, "initializer_range": 0.2, "pad_token_id": 1, "cls_token_id": 0,
        "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2,
    },
    "deberta-v2": {
        **_COMMON, **_SPREAD, "max_position_embeddings": 96, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
        "pad_token_id": 1,
    },
    # Tables of embeddings that multiply their rows, layers with a window; no table of positions.
    "gemma3_text": {
        **_COMMON, **_SPREAD, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 96,
        "use_bidirectional_attention": True, "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 16, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    },
    "t5": {
        "d_model": HIDDEN, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu",
        "pad_token_id": 1, "eos_token_id": 2, "is_encoder_decoder": True,
    },
    "convbert": {**_COMMON, **_SPREAD, "embedding_size": 16, "max_position_embeddings": 96},
    "albert": {**_COMMON, **_SPREAD, "embedding_size": 16, "max_position_embeddings": 96, "pad_token_id": 1},
    "qwen3": {
        **_COMMON, **_SPREAD, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 96,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    },
}  # fmt: skip

_TEMPLATE = (
    'judge this\nquery: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}\n'
    'document: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}</s>answer: '
)


def words_tokenizer(folder: Path, window: int | None = None) -> Any:
    """Return a byte-level tokenizer learned from the tests' passages, with <s>, <pad>, </s> as 0, 1, 2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [json.loads(line)["text"] for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", model_input_names=["input_ids", "attention_mask"],
        **({"model_max_length": window} if window else {}),
    )  # fmt: skip
    wrapped.save_pretrained(folder)
    return wrapped


def make_transformer(folder: Path, architecture: str, *, labels: int | None = None, **changes: Any) -> Path:
    """Save a random Transformer of an architecture with its tokenizer, as transformers does."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = words_tokenizer(folder)
    config = transformers.AutoConfig.for_model(
        architecture, vocab_size=len(tokenizer), **(CONFIGS[architecture] | changes)
    )
    torch.manual_seed(0)
    if labels is None:
        network = transformers.AutoModel.from_config(config)
    else:
        config.num_labels = labels
        network = transformers.AutoModelForSequenceClassification.from_config(config)
    network.save_pretrained(folder)
    return folder


def make_reranker(folder: Path, head: str) -> Path:
    """Save a random causal model that reads a pair through its chat template, as Qwen3-Reranker does.

    Its `head` is a "logit", or the "words" yes and no.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = words_tokenizer(folder)
    tokenizer.add_tokens(["yes", "no"])
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    config = transformers.AutoConfig.for_model("qwen3", vocab_size=len(tokenizer), **CONFIGS["qwen3"])
    torch.manual_seed(0)
    if head == "logit":
        config.num_labels = 1
        network = transformers.AutoModelForSequenceClassification.from_config(config)
    else:
        network = transformers.AutoModelForCausalLM.from_config(config)
    network.save_pretrained(folder)
    return folder


def make_bi_encoder(
    folder: Path,
    architecture: str,
    pooling: str = "mean",
    *,
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    window: int | None = None,
    **changes: Any,
) -> Path:
    """Save a random SentenceTransformer: Transformer, Pooling and perhaps Normalize."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    make_transformer(folder / "bare", architecture, **changes)
    modules = [Transformer(str(folder / "bare")), Pooling(HIDDEN, pooling_mode=pooling)]
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    if window:
        model.max_seq_length = window
    model.save_pretrained(str(folder / "saved"))
    return folder / "saved"
