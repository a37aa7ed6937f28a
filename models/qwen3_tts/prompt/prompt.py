"""A request → the talker's prompt: for every position a text token, and beside it the codec tokens there.

The plan is plain numbers, so that it can be compared and tested without a network; `Talker.embed_prompt` turns it
into embeddings. Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSForConditionalGeneration.generate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.checkpoint_format.config import ModelConfig

Tokenize = Callable[[str], list[int]]

ROLE_TOKENS = 3  # <|im_start|> assistant \n
TEXT_TAIL_TOKENS = 5  # <|im_end|> \n <|im_start|> assistant \n
REFERENCE_TAIL_TOKENS = 2  # <|im_end|> \n


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Speaker embedding of a cloned voice, and for in-context cloning reference codes and their transcript."""

    speaker_embedding: npt.NDArray[np.float32]  # (D,)
    codes: npt.NDArray[np.int32] | None = None  # (T, Q)
    transcript: str = ""


@dataclass(frozen=True, kw_only=True)
class PromptPlan:
    """One prompt. `codes` has -1 where a codebook adds nothing; a single codec token is in the first column."""

    text_ids: npt.NDArray[np.int32]  # (L,)
    codes: npt.NDArray[np.int32]  # (L, Q)
    trailing_ids: npt.NDArray[np.int32]  # (N,) text for the frames to come, one token each, then padding
    speaker_at: int | None = None  # the position that the speaker embedding is added to
    speaker_embedding: npt.NDArray[np.float32] | None = None  # (D,)

    def __len__(self) -> int:
        return len(self.text_ids)


@dataclass(frozen=True, kw_only=True)
class PromptTokens:
    """Token ids of a request's parts."""

    role: list[int]
    text: list[int]
    instruct: list[int]
    reference: list[int]


def tokenize_prompt(tokenize: Tokenize, *, text: str, instruct: str | None, transcript: str | None) -> PromptTokens:
    """Tokens of each part in its official template, cut where the official package cuts it."""
    ids = tokenize(f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n")
    reference: list[int] = []
    if transcript is not None:
        reference = tokenize(f"<|im_start|>assistant\n{transcript}<|im_end|>\n")[ROLE_TOKENS:-REFERENCE_TAIL_TOKENS]
    return PromptTokens(
        role=ids[:ROLE_TOKENS],
        text=ids[ROLE_TOKENS:-TEXT_TAIL_TOKENS],
        instruct=tokenize(f"<|im_start|>user\n{instruct}<|im_end|>\n") if instruct else [],
        reference=reference,
    )


class _Positions:
    """Positions under construction."""

    def __init__(self, codebooks: int) -> None:
        self._codebooks = codebooks
        self.text: list[int] = []
        self.codes: list[Sequence[int]] = []

    def add(self, text: int, code: int | None = None) -> None:
        token = [] if code is None else [code]
        self.add_frame(text, [*token, *[-1] * (self._codebooks - len(token))])

    def add_frame(self, text: int, frame: Sequence[int]) -> None:
        self.text.append(text)
        self.codes.append(frame)

    def plan(self, trailing: Sequence[int], **speaker: object) -> PromptPlan:
        return PromptPlan(
            text_ids=np.array(self.text, dtype=np.int32),
            codes=np.array(self.codes, dtype=np.int32).reshape(-1, self._codebooks),
            trailing_ids=np.array(trailing, dtype=np.int32),
            **speaker,  # type: ignore[arg-type]
        )


def plan_prompt(
    config: ModelConfig,
    tokens: PromptTokens,
    *,
    language_id: int | None,
    speaker_id: int | None,
    reference: Reference | None,
    interleave_text: bool,
) -> PromptPlan:
    """The prompt laid out as the official package does. `interleave_text` is its `non_streaming_mode=False`."""
    talker = config.talker_config
    positions = _Positions(talker.num_code_groups)
    for token in (*tokens.instruct, *tokens.role):
        positions.add(token)
    prefix = [talker.codec_nothink_id, talker.codec_think_bos_id, talker.codec_think_eos_id]
    if language_id is not None:
        prefix = [talker.codec_think_id, talker.codec_think_bos_id, language_id, talker.codec_think_eos_id]
    for code in prefix:
        positions.add(config.tts_pad_token_id, code)
    speaker_at = None
    if reference is not None:
        speaker_at = len(positions.text)
        positions.add(config.tts_pad_token_id)
    elif speaker_id is not None:
        positions.add(config.tts_pad_token_id, speaker_id)
    positions.add(config.tts_bos_token_id, talker.codec_pad_id)
    if reference is not None and reference.codes is not None:
        trailing = _lay_out_in_context(config, tokens, positions, reference.codes, interleave_text=interleave_text)
    else:
        trailing = _lay_out_text(config, tokens, positions, interleave_text=interleave_text)
    embedding = None if reference is None else reference.speaker_embedding
    return positions.plan(trailing, speaker_at=speaker_at, speaker_embedding=embedding)


def _lay_out_text(
    config: ModelConfig, tokens: PromptTokens, positions: _Positions, *, interleave_text: bool
) -> Sequence[int]:
    """Add the text and the start of speech; return the text left over for the frames to come."""
    talker = config.talker_config
    if interleave_text:
        # The official slices are of the whole template, so an empty text begins with the token that ends it.
        first = tokens.text[0] if tokens.text else config.im_end_token_id
        positions.add(first, talker.codec_bos_id)
        return [*tokens.text[1:], config.tts_eos_token_id]
    for token in (*tokens.text, config.tts_eos_token_id):
        positions.add(token, talker.codec_pad_id)
    positions.add(config.tts_pad_token_id, talker.codec_bos_id)
    return [config.tts_pad_token_id]


def _lay_out_in_context(
    config: ModelConfig,
    tokens: PromptTokens,
    positions: _Positions,
    codes: npt.NDArray[np.int32],
    *,
    interleave_text: bool,
) -> Sequence[int]:
    """Add both texts beside the reference's frames, or before them; return the text left for the frames to come."""
    talker = config.talker_config
    texts = [*tokens.reference, *tokens.text, config.tts_eos_token_id]
    start = [talker.codec_bos_id, *[-1] * (talker.num_code_groups - 1)]
    frames: list[Sequence[int]] = [start, *codes.tolist()]
    trailing: Sequence[int] = [config.tts_pad_token_id]
    over = [config.tts_pad_token_id] * len(frames)
    if interleave_text:
        over = [*texts, *over][: len(frames)]
        trailing = texts[len(frames) :] or trailing
    else:
        for token in texts:
            positions.add(token, talker.codec_pad_id)
    for token, frame in zip(over, frames, strict=True):
        positions.add_frame(token, frame)
    return trailing


@dataclass(frozen=True, kw_only=True)
class PrefillGroup:
    """Indices of prompts that are run together; the first `shared` positions are equal in all of them."""

    members: list[int]
    shared: int = 0


MIN_POSITIONS_SAVED = 32  # sharing costs an extra pass
MAX_LENGTH_RATIO = 2.0  # prompts run together are padded to the longest


def prefill_groups(plans: Sequence[PromptPlan]) -> list[PrefillGroup]:
    """Groups in which prompts run with little work: equal beginnings once, the others with bounded padding."""
    groups = []
    alone: list[int] = []
    left = list(range(len(plans)))
    while left:
        leader, *others = left
        shared = {index: shared_prefix(plans[leader], plans[index]) for index in others}
        near = [index for index in others if 2 * shared[index] >= len(plans[leader])]
        length = min([shared[index] for index in near] + [len(plans[leader]) - 1])
        length = min(length, *(len(plans[index]) - 1 for index in near)) if near else 0
        if length * len(near) >= MIN_POSITIONS_SAVED:
            groups.append(PrefillGroup(members=[leader, *near], shared=length))
            left = [index for index in others if index not in near]
        else:
            alone.append(leader)
            left = others
    return groups + _of_similar_length(plans, alone)


def _of_similar_length(plans: Sequence[PromptPlan], indices: Sequence[int]) -> list[PrefillGroup]:
    groups: list[PrefillGroup] = []
    for index in sorted(indices, key=lambda index: len(plans[index])):
        if groups and len(plans[index]) <= MAX_LENGTH_RATIO * len(plans[groups[-1].members[0]]):
            groups[-1].members.append(index)
        else:
            groups.append(PrefillGroup(members=[index]))
    return groups


def shared_prefix(one: PromptPlan, other: PromptPlan) -> int:
    """Number of equal positions at the beginning of two prompts."""
    length = min(len(one), len(other))
    differs = (one.text_ids[:length] != other.text_ids[:length]) | (one.codes[:length] != other.codes[:length]).any(1)
    if (one.speaker_at is not None or other.speaker_at is not None) and not _same_speaker(one, other):
        places = [plan.speaker_at for plan in (one, other) if plan.speaker_at is not None]
        differs[min(places) :] = True
    return int(np.argmax(differs)) if differs.any() else length


def _same_speaker(one: PromptPlan, other: PromptPlan) -> bool:
    if one.speaker_embedding is None or other.speaker_embedding is None or one.speaker_at != other.speaker_at:
        return False
    return np.array_equal(one.speaker_embedding, other.speaker_embedding)
