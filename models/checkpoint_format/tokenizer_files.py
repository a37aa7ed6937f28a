"""The tokenizer files of a checkpoint → a tokenizer as the official processor has it: NFC, the Qwen2 split, BPE.

The ids are those of Qwen2's own split expression. The official package swaps it for another model's when a checkpoint
is in a local folder; Qwen's developers confirm that their models were trained with this one.
This module reads files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from models.checkpoint_format.config import ModelConfig
from models.checkpoint_format.files import MAX_TOKENIZER_BYTES, read_json
from models.errors import UnsupportedCheckpoint
from registry.durable_files import read_regular

HINT = "Copy vocab.json, merges.txt and tokenizer_config.json again, from where the model came from."
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


def read_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    """The tokenizer in `folder`, which fits the config. Raises UnsupportedCheckpoint."""
    try:
        return _read_tokenizer(folder, config)
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(error.message, hint=error.hint or HINT) from None


def _read_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    whole = folder / "tokenizer.json"
    try:
        if whole.is_file():
            tokenizer = Tokenizer.from_file(str(whole))
            tokenizer.no_truncation()
            tokenizer.no_padding()
        else:
            tokenizer = _from_vocabulary(folder)
    except UnsupportedCheckpoint:
        raise
    except Exception as error:  # the library raises plain Exception for everything
        raise UnsupportedCheckpoint(f"The tokenizer files of {folder} cannot be used: {error}.") from None
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    _check_fit(tokenizer, config, folder)
    return tokenizer


def _check_fit(tokenizer: Tokenizer, config: ModelConfig, folder: Path) -> None:
    """Raise UnsupportedCheckpoint where turns would not be marked as the model knows them, or an id has no row."""
    marks = {"<|im_start|>": config.im_start_token_id, "<|im_end|>": config.im_end_token_id}
    for mark, stated in marks.items():
        if (found := tokenizer.token_to_id(mark)) != stated:
            has = "lacks it" if found is None else f"gives it {found}"
            raise UnsupportedCheckpoint(
                f"The tokenizer files of {folder} do not fit config.json: {mark} has the id {stated}, "
                f"and the tokenizer {has}."
            )
    largest, rows = max(tokenizer.get_vocab(with_added_tokens=True).values()), config.talker_config.text_vocab_size
    if largest >= rows:
        raise UnsupportedCheckpoint(
            f"The tokenizer files of {folder} do not fit config.json: their largest id is {largest}, and the model "
            f"has {rows} tokens."
        )


def _from_vocabulary(folder: Path) -> Tokenizer:
    """From `vocab.json` + `merges.txt`, with the special tokens that `tokenizer_config.json` lists."""
    vocabulary = read_json(folder / "vocab.json", at_most=MAX_TOKENIZER_BYTES)
    merges = _read_merges(folder / "merges.txt")
    stated: dict[str, Any] = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    # An added token takes the number of its string in the vocabulary, or else the next free one, which is wrong where
    # a checkpoint's numbers have gaps. No merge makes these strings.
    taken = set(vocabulary.values())
    free = {entry["content"]: int(number) for number, entry in stated.items() if int(number) not in taken}
    vocabulary = free | vocabulary
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, fuse_unk=False, byte_fallback=False))
    for id_text, entry in sorted(stated.items(), key=lambda item: int(item[0])):
        token = AddedToken(entry["content"], **{flag: entry[flag] for flag in _FLAGS if flag in entry})
        (tokenizer.add_special_tokens if entry.get("special") else tokenizer.add_tokens)([token])
        if tokenizer.token_to_id(entry["content"]) != int(id_text):
            problem = f"{entry['content']!r} should have the id {id_text}, and the vocabulary gives it another"
            raise UnsupportedCheckpoint(f"{folder / 'tokenizer_config.json'}: {problem}.")
    return tokenizer


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = read_regular(path, at_most=MAX_TOKENIZER_BYTES).decode("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise UnsupportedCheckpoint(f"{path} cannot be read: {error}.") from None
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise UnsupportedCheckpoint(f"{path}, line {number}: expected two tokens, found {json.dumps(line)}.")
        pairs.append((parts[0], parts[1]))
    return pairs
