"""Text → token ids, by the tokenizer of a checkpoint. Opening it reads files."""

from __future__ import annotations

from pathlib import Path

from models.checkpoint_format.config import ModelConfig
from models.checkpoint_format.tokenizer_files import read_tokenizer
from registry.errors import InvalidInput


class TextTokenizer:
    """The checkpoint's tokenizer. Special-token strings inside a text become those tokens, as they officially do.

    Raises InvalidInput for anything that is not text.
    """

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        self._tokenizer = read_tokenizer(folder, config)

    def __call__(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise InvalidInput(f"A text must be a string, not {type(text).__name__}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half of a pair, which JSON can write
            raise InvalidInput(
                f"The text is not Unicode at character {error.start + 1}: {text[error.start]!a}."
            ) from None
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def added_tokens(self) -> tuple[str, ...]:
        """Strings that become single tokens anywhere in a text, control tokens among them."""
        return tuple(token.content for token in self._tokenizer.get_added_tokens_decoder().values())
