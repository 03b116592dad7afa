"""The torch network that becomes a graph: from token ids to token vectors, to a vector, or to a logit."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sqlrag.errors import InputError
from sqlrag.models.spec import IN_GRAPH
from sqlrag.models.torch_loading import is_static

if TYPE_CHECKING:
    from sqlrag.models.spec import ModelSpec

__all__ = ["Made", "network_of"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# What may stand behind a Transformer: these are made of operators that every graph has.
_EXPORTED = frozenset({"Pooling", "Dense", "LayerNorm", "Dropout", "Normalize", "LogitScore"})
# Texts that no chat template contains, and that it leaves as they are.
_MARKS = ("queryQ7q", "documentD7d")


@dataclass(frozen=True)
class Made:
    """A network, the names of its inputs and of the output that is used, and the template around a pair."""

    network: Any
    inputs: tuple[str, ...]
    output: str
    template: tuple[str, ...] = ()


def network_of(model: Any, spec: ModelSpec, folder: str) -> Made:
    """Return the network of an opened SentenceTransformer or CrossEncoder.

    Raises InputError for modules that cannot be exported, which torch can run.
    """
    if is_static(model):
        return _table(model, folder)
    modules = [type(module).__name__ for module in model]
    if modules[0] != "Transformer" or not _EXPORTED.issuperset(modules[1:]):
        raise _not_exported(folder, f"has the modules {modules}")
    inner = model[0].auto_model.eval()
    # Eager attention is made of plain matrix products, which ONNX Runtime can fuse.
    inner.set_attn_implementation("eager")
    accepted = inspect.signature(inner.forward).parameters
    inputs = tuple(name for name in _INPUTS if name in accepted)
    if spec.kind == "cross-encoder":
        template = _template(model, folder)
        if modules == ["Transformer"] and model[0].transformer_task == "sequence-classification":
            return Made(inner, inputs, "logits", template)
        return Made(_Whole(model, inner, "scores").eval(), inputs, "scores", template)
    if "message" in model[0].modality_config:
        raise _not_exported(folder, "puts each text into a chat template")
    if spec.pooling != IN_GRAPH:
        return Made(inner, inputs, "last_hidden_state")
    masks = () if spec.include_prompt else ("pooled_mask",)
    return Made(_Whole(model, inner, "sentence_embedding").eval(), inputs + masks, "sentence_embedding")


class _Whole(nn.Module):  # type: ignore[misc]
    """A Transformer and the modules behind it. `pooled_mask` says which tokens are pooled, if not all."""

    def __init__(self, model: Any, inner: Any, output: str) -> None:
        super().__init__()
        first = model[0]
        self.inner = inner
        self.output = output
        self.inner_output = next(iter(first.modality_config.values()))["method_output_name"]
        self.named = first.module_output_name
        later = [copy.deepcopy(module) for module in model][1:]
        # All vectors are brought to length 1 when they are used.
        self.later = nn.ModuleList(later[:-1] if later and type(later[-1]).__name__ == "Normalize" else later)
        self.keep: dict[str, Any] = {}
        for module in self.later:
            if type(module).__name__ == "LogitScore":
                self.keep = {"logits_to_keep": 1}
                _keep_two_words(inner, module)
            if hasattr(module, "include_prompt"):
                module.include_prompt = True  # the mask excludes it

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        pooled_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        given = {"input_ids": input_ids, "attention_mask": attention_mask} | self.keep
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        found = self.inner(**given)[self.inner_output]
        features = {self.named: found, "attention_mask": attention_mask if pooled_mask is None else pooled_mask}
        for module in self.later:
            features = module(features)
        return {self.output: features[self.output]}


def _keep_two_words(inner: Any, module: Any) -> None:
    """Reduce a language model's last layer to the words whose logits make the score."""
    words = [module.true_token_id] + ([] if module.false_token_id is None else [module.false_token_id])
    whole = inner.get_output_embeddings()
    if type(whole) is not nn.Linear:
        return
    reduced = nn.Linear(whole.in_features, len(words), bias=whole.bias is not None)
    with torch.no_grad():
        reduced.weight.copy_(whole.weight[words])
        if whole.bias is not None:
            reduced.bias.copy_(whole.bias[words])
    inner.set_output_embeddings(reduced)
    module.true_token_id, module.false_token_id = 0, None if module.false_token_id is None else 1


def _table(model: Any, folder: str) -> Made:
    modules = [type(module).__name__ for module in model if type(module).__name__ != "Normalize"]
    if modules != ["StaticEmbedding"]:
        raise _not_exported(folder, f"has the modules {modules}")

    class Table(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Embedding.from_pretrained(model[0].embedding.weight.detach().float())

        def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"last_hidden_state": self.rows(input_ids)}

    return Made(Table().eval(), ("input_ids",), "last_hidden_state")


def _template(model: Any, folder: str) -> tuple[str, ...]:
    """Return the texts before, between and after a query and a document; () for a tokenizer's own pairs."""
    first = model[0]
    prompt = model.prompts.get(model.default_prompt_name) or ""
    if "message" not in first.modality_config:
        if prompt:
            raise _not_exported(folder, f"has the prompt {prompt!r}")
        return ()

    def rendered(query: str, document: str) -> str:
        _, given = first.input_formatter.batch_to_message("text", {"text": [(query, document)]})
        messages = given["message"]
        if prompt:
            messages = first.input_formatter.prepend_prompt_to_messages(messages, prompt)
        settings = dict((first.processing_kwargs or {}).get("chat_template", {}))
        settings.pop("restore_suffix", None)
        return str(first.tokenizer.apply_chat_template(messages[0], tokenize=False, **settings))

    try:
        text = rendered(*_MARKS)
    except Exception as error:  # Jinja raises anything
        raise _not_exported(folder, f"has a chat template that cannot be used ({error})") from error
    before, found, rest = text.partition(_MARKS[0])
    between, also, after = rest.partition(_MARKS[1])
    tries = [("", ""), ("a\n b ", " c\n"), ("<x> & 東京", "{{ d }}")]
    if (
        not found
        or not also
        or any(rendered(query, document) != f"{before}{query}{between}{document}{after}" for query, document in tries)
    ):
        raise _not_exported(folder, "has a chat template that changes the texts that it is given")
    return before, between, after


def _not_exported(folder: str, why: str) -> InputError:
    return InputError(
        f"model {folder!r} {why}, which can't be exported to ONNX: torch runs it as it is "
        '(--backend torch, or backend="torch")'
    )
