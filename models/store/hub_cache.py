"""The shared directory → a *hub cache*: links in the layout of `huggingface_hub`, by which its functions find models.

A library that asks the hub is so answered from the shared directory, offline.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from models.store.installed import installed_folders

SNAPSHOT = "0" * 40  # stands for the commit: the shared directory holds one of each model
SHORT_IDS = {"google-bert/bert-base-multilingual-cased": "bert-base-multilingual-cased"}  # as libraries ask for it


def link_hub_cache(cache: Path, directory: Path) -> Path:
    """The hub cache, with a link to each model of the directory."""
    for model_id, folder in installed_folders(directory):
        if model_id.count("/") == 1:
            _link(cache, model_id, folder)
            if short := SHORT_IDS.get(model_id):
                _link(cache, short, folder)
    return cache


def hub_folder(cache: Path, repository: str) -> Path | None:
    """The folder that a hub cache has for a repository."""
    folder = _place(cache, repository) / "snapshots" / SNAPSHOT
    return folder if folder.is_dir() else None


def _link(cache: Path, repository: str, folder: Path) -> None:
    place = _place(cache, repository)
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "snapshots").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(SNAPSHOT, encoding="ascii")
    link = place / "snapshots" / SNAPSHOT
    if not link.is_symlink() or link.readlink() != folder:
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        with contextlib.suppress(FileExistsError):  # another thread has made it
            link.symlink_to(folder)


def _place(cache: Path, repository: str) -> Path:
    return cache / f"models--{repository.replace('/', '--')}"
