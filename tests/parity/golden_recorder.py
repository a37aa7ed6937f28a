"""What the official package computes on its way, caught by hooks. Used by `make_golden.py`; needs qwen-tts.

Nothing of the official package is changed but what it returns: its calls are wrapped, and answer the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

PREDICTOR_FRAMES = 3  # whose logits are kept whole
POSITION_STEPS = 3


def array(value: Any) -> np.ndarray:
    """A tensor as float32 or int32 on the host."""
    found = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return found.astype(np.float32 if found.dtype.kind == "f" else np.int32)


@contextlib.contextmanager
def wrapped(owner: Any, name: str, record: Any, **added: Any) -> Iterator[None]:
    """Calls of `owner.name` also go to `record(arguments, keywords, result)`; `added` keywords are put in."""
    original = getattr(owner, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        result = original(*arguments, **{**keywords, **added})
        record(arguments, keywords, result)
        return result

    setattr(owner, name, call)
    try:
        yield
    finally:
        # a wrapped method came from its class, a wrapped attribute from the object itself
        if name in vars(type(owner)) or not hasattr(type(owner), name):
            delattr(owner, name)
        if not hasattr(owner, name):
            setattr(owner, name, original)


@contextlib.contextmanager
def outputs_of(modules: dict[str, torch.nn.Module], kept: dict[str, list[Any]]) -> Iterator[None]:
    """Every output of the named modules, appended to `kept[name]`."""

    def hook(name: str) -> Any:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            plain = getattr(output, "last_hidden_state", output)
            kept.setdefault(name, []).append(plain[0] if isinstance(plain, tuple) else plain)

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class SpeechRecorder:
    """Everything one call of `generate_…` goes through."""

    def __init__(self, tts: Any) -> None:
        self.tts = tts
        self.model = tts.model
        self.request: dict[str, Any] = {}
        self.talker_call: dict[str, Any] = {}
        self.talker_result: Any = None
        self.predictor_logits: list[np.ndarray] = []
        self.positions: list[np.ndarray] = []
        self.decoded: list[np.ndarray] = []

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        talker = self.model.talker
        scores = {"output_scores": True, "output_logits": True}
        with contextlib.ExitStack() as stack:
            stack.enter_context(wrapped(self.model, "generate", self._keep_request))
            stack.enter_context(wrapped(talker, "generate", self._keep_talker, **scores))
            stack.enter_context(wrapped(talker.code_predictor, "generate", self._keep_predictor, output_logits=True))
            stack.enter_context(wrapped(self.model.speech_tokenizer, "decode", self._keep_decoded))
            hook = talker.model.register_forward_pre_hook(self._keep_positions, with_kwargs=True)
            stack.callback(hook.remove)
            yield

    def _keep_request(self, _arguments: Any, keywords: Any, result: Any) -> None:
        self.request = {**keywords, "codes": result[0]}

    def _keep_talker(self, _arguments: Any, keywords: Any, result: Any) -> None:
        self.talker_call, self.talker_result = keywords, result

    def _keep_predictor(self, _arguments: Any, _keywords: Any, result: Any) -> None:
        self.predictor_logits.append(np.stack([array(step) for step in result.logits], axis=1))  # (B, Q - 1, K)

    def _keep_positions(self, _module: Any, _arguments: Any, keywords: Any) -> None:
        self.positions.append(array(keywords["position_ids"]))

    def _keep_decoded(self, arguments: Any, keywords: Any, _result: Any) -> None:
        encoded = arguments[0] if arguments else keywords["encoded"]
        self.decoded = [array(each["audio_codes"]) for each in encoded]

    def arrays(self) -> dict[str, np.ndarray]:
        """The recorded call, by the names of `tests/data/reference/README.md`."""
        return self._inputs() | self._talker() | self._predictor() | self._codes()

    def _inputs(self) -> dict[str, np.ndarray]:
        found = {}
        for name in ("input_ids", "instruct_ids", "ref_ids"):
            for item, ids in enumerate(self.request.get(name) or []):
                if ids is not None:
                    found[f"{name}.{item}"] = array(ids)
        prompt = self.request.get("voice_clone_prompt") or {}
        for name, key in (("spk_embedding", "ref_spk_embedding"), ("ref_codes", "ref_code")):
            for item, value in enumerate(prompt.get(key) or []):
                if value is not None:
                    found[f"{name}.{item}"] = array(value)
        call = self.talker_call
        return found | {
            "prefill_embeds": array(call["inputs_embeds"]),
            "attention_mask": array(call["attention_mask"]),
            "trailing_text_hidden": array(call["trailing_text_hidden"]),
            "tts_pad_embed": array(call["tts_pad_embed"]),
            "prefill_position_ids": self.positions[0],
            "decode_position_ids": np.concatenate(self.positions[1 : 1 + POSITION_STEPS], axis=2),
        }

    def _talker(self) -> dict[str, np.ndarray]:
        config, result = self.model.config.talker_config, self.talker_result
        codes = config.vocab_size - 1024
        columns = [*range(codes), config.codec_eos_token_id]
        logits = np.stack([array(step) for step in result.logits], axis=1)  # (B, S, V)
        scores = np.stack([array(step) for step in result.scores], axis=1)
        layers = [step[0] for step in result.hidden_states]  # S times N + 1 times (B, L or 1, D)
        return {
            "prefill_hidden_layers": np.stack([array(layer[:, -1]) for layer in layers[0]]),
            "talker_logits_first": logits[:, 0],
            "talker_logits": logits[..., columns],
            "talker_scores": scores[..., columns],
            "talker_margin": margin(scores),
            "talker_hidden": np.stack([array(step[-1][:, -1]) for step in layers], axis=1),
            "step_embeds": np.stack([array(step[0][:, -1]) for step in layers[1:]], axis=1),
            "talker_sequences": array(result.sequences),
        }

    def _predictor(self) -> dict[str, np.ndarray]:
        logits = np.stack(self.predictor_logits, axis=1)  # (B, T, Q - 1, K)
        return {
            "predictor_logits": np.stack(self.predictor_logits[:PREDICTOR_FRAMES]),
            "predictor_margin": margin(logits),
        }

    def _codes(self) -> dict[str, np.ndarray]:
        found = {f"codes.{item}": array(codes) for item, codes in enumerate(self.request["codes"])}
        for item, codes in enumerate(self.decoded):
            if len(codes) != len(found[f"codes.{item}"]):
                found[f"decode_codes.{item}"] = codes
        return found


def margin(scores: np.ndarray) -> np.ndarray:
    """The best less the second along the last axis: below the backends' differences, a mismatch is a tie."""
    best = np.partition(scores, -2, axis=-1)
    return (best[..., -1] - best[..., -2]).astype(np.float32)


@contextlib.contextmanager
def quantizer_margins(encoder: Any, kept: list[np.ndarray]) -> Iterator[None]:
    """For each codebook in turn, how much farther than the nearest codeword the second nearest is, `(B * T,)`."""
    quantizer = encoder.quantizer
    groups = (quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer)
    with contextlib.ExitStack() as stack:
        for group in groups:
            for layer in group.layers:

                def keep(arguments: Any, _keywords: Any, _result: Any, book: Any = layer.codebook) -> None:
                    distances = array(torch.cdist(arguments[0][None].float(), book.embed[None].float())[0])
                    nearest = np.partition(distances, 1, axis=-1)
                    kept.append(nearest[:, 1] - nearest[:, 0])

                stack.enter_context(wrapped(layer.codebook, "quantize", keep))
        yield
