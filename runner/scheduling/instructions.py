"""The models of lines with an instruction → a warning about those that were not trained to follow any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.engine_kinds import kind_of_model
from models.store.availability import read_config
from models.store.catalog import entry_named, kind_of
from models.store.installed import resolve_model
from runner.text_format import counted

SHOWN = 5  # lines that a warning names


def instruction_warnings(lines: Iterable[tuple[int, str]], *, models_dir: Path) -> Iterator[str]:
    """A sentence for each model that takes no instructions; `lines` are the position and model of lines with one."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, model in lines:
        positions[model].append(position)
    for model, found in positions.items():
        if not takes_instructions(model, models_dir=models_dir):
            named = ", ".join(map(str, found[:SHOWN])) + (", …" if len(found) > SHOWN else "")
            which = f"{counted(len(found), 'line')} ({named})" if len(found) > 1 else f"Line {found[0]}"
            yield (
                f"{which} {'have' if len(found) > 1 else 'has'} an instruction. {model} was not trained to follow any: "
                "it may be ignored, or change the voice."
            )


def takes_instructions(model: str, *, models_dir: Path) -> bool:
    """Whether a model follows instructions, by the table or by its own config; engines without weights say it later."""
    if not kind_of_model(model).has_weights:
        return True
    entry = entry_named(model)
    folder = resolve_model(model, directory=models_dir).folder if entry is None else None
    kind = kind_of(read_config(folder) if folder is not None else None, entry)
    return not kind.abilities or "instruct" in kind.abilities
