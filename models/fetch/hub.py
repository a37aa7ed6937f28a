"""The Hugging Face hub, through `huggingface_hub`: a repository → its commit and files; a file → bytes on disk.

This module touches the network and the disk. Every failure becomes an error of our tree with a remedy. Messages are
made here from facts we choose: what the library says may hold signed addresses, and is never passed on.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from models.errors import HubRefused, HubUnreachable, NoSpaceForModel, RepositoryGated, RepositoryNotFound
from models.store.manifest import SHA256_HEX
from registry.durable_files import crash_point, fsync_file
from registry.errors import StorageError, VoiceJobsError

RETRY_WAITS_S = (0.5, 1.0, 2.0)  # between attempts that bring nothing; one that brings bytes starts over
RETRIED_STATUSES = (408, 425, 429, 500, 502, 503, 504)
MAX_RETRY_AFTER_S = 30.0
CHUNK_BYTES = 1 << 18  # at most this much is lost when the process is killed
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

# What an engine reads; everything else in a repository (pictures, other frameworks' weights) is left there.
NEEDED_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja", ".npz")
CTRANSLATE2_WEIGHTS = "model.bin"  # where there are no safetensors; another program's is refused when it is here

Result = TypeVar("Result")
OnBytes = Callable[[int], None]  # bytes more (or fewer, after a rewind) of the file being fetched
OnRetry = Callable[[str], None]


@dataclass(frozen=True)
class RemoteFile:
    path: str
    size_bytes: int
    sha256: str | None  # the hub publishes it for large files


@dataclass(frozen=True)
class RemoteModel:
    """One commit of a repository, and the files of it that we need."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def is_offline(environ: Mapping[str, str], *, setting: bool = False) -> bool:
    """Whether the network is forbidden: by the setting, ACERVO_OFFLINE (the literal 1), or Hugging Face's switches."""
    if setting or environ.get("ACERVO_OFFLINE") == "1":
        return True
    value = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


def is_needed(path: str) -> bool:
    """Whether a file of a repository is fetched: visible, at most one folder deep, of a kind that engines read."""
    parts = path.split("/")
    if len(parts) > 2 or any(part.startswith(".") or part == "" for part in parts):
        return False
    if path == CTRANSLATE2_WEIGHTS:
        return True
    return parts[-1].endswith(NEEDED_SUFFIXES) and parts[-1] not in ("manifest.json", "LICENSE.txt", "requirements.txt")


class Hub:
    """One repository host. `environ` may name another one in HF_ENDPOINT; tokens are the library's business."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        on_retry: OnRetry | None = None,
        retry_waits_s: Sequence[float] = RETRY_WAITS_S,
    ) -> None:
        self.endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or None
        self.on_retry = on_retry
        self.retry_waits_s = tuple(retry_waits_s)

    def look_up(self, repository: str, *, revision: str | None = None) -> RemoteModel:
        """The commit that `revision` (default: the main branch) names now, and its needed files.

        Raises RepositoryNotFound, RepositoryGated, HubUnreachable or HubRefused.
        """
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, library_name="voicejobs")

        def ask() -> RemoteModel:
            commit = revision if revision and re.fullmatch(r"[0-9a-f]{40}", revision) else None
            if commit is None:
                commit = api.repo_info(repository, revision=revision or "main", timeout=30).sha
            if not commit:
                raise HubRefused(f"The hub names no commit for {repository}.")
            tree = api.list_repo_tree(repository, recursive=True, revision=commit)
            files = [_remote_file(item) for item in tree if hasattr(item, "size") and is_needed(item.path)]
            return RemoteModel(repository, commit, _without_second_weights([file for file in files if file]))

        return self._with_retries(ask, what=repository)

    def fetch(self, model: RemoteModel, file: RemoteFile, target: Path, *, on_bytes: OnBytes) -> str | None:
        """Bring one file to `target`, after the bytes already there; returns the SHA-256 that the hub announced.

        The bytes are on the medium when this returns; whether they are right, the caller checks.
        Raises the errors of `look_up`, NoSpaceForModel and StorageError.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        what = f"{model.repository}/{file.path}"
        url = hf_hub_url(model.repository, file.path, revision=model.commit, endpoint=self.endpoint)
        metadata = self._with_retries(lambda: get_hf_file_metadata(url, endpoint=self.endpoint, timeout=30), what=what)
        headers = {**build_hf_headers(library_name="voicejobs"), "Accept-Encoding": "identity"}
        if urlsplit(metadata.location).netloc != urlsplit(url).netloc:
            headers.pop("authorization", None)  # a signed address on another host: our token is not for it
        transfer = _Transfer(metadata.location, target, size_bytes=file.size_bytes, headers=headers, on_bytes=on_bytes)
        self._with_retries(transfer.resume, what=what, advance=lambda: transfer.have_bytes)
        return file.sha256 or (metadata.etag if SHA256_HEX.fullmatch(metadata.etag or "") else None)

    def _host(self) -> str:
        from huggingface_hub import constants

        endpoint = self.endpoint or constants.ENDPOINT
        return urlsplit(endpoint).netloc or endpoint

    def _with_retries(self, ask: Callable[[], Result], *, what: str, advance: Callable[[], int] = lambda: 0) -> Result:
        """Ask, and again after faults that pass by themselves, for as long as `advance` grows. Raises our errors."""
        fruitless = 0
        while True:
            before = advance()
            try:
                return ask()
            except VoiceJobsError:
                raise
            except Exception as error:  # whatever the library and its transport raise; `explained` knows each kind
                failure, passes, wait_s = explained(error, what=what, host=self._host())
                if not passes:
                    # What the library and its transport say may name signed addresses; it goes no further.
                    raise failure from (None if isinstance(error, _transport_errors()) else error)
            fruitless = 0 if advance() > before else fruitless + 1
            if fruitless > len(self.retry_waits_s):
                raise failure
            if self.on_retry is not None:
                self.on_retry(failure.message)
            pause_s = self.retry_waits_s[fruitless - 1] if fruitless else min(self.retry_waits_s, default=0)
            time.sleep(min(MAX_RETRY_AFTER_S, max(pause_s, wait_s)))


def _without_second_weights(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """The files by path; of weights in two formats, the safetensors."""
    has_safetensors = any(file.path.endswith(".safetensors") for file in files)
    kept = [file for file in files if not (has_safetensors and file.path == CTRANSLATE2_WEIGHTS)]
    return tuple(sorted(kept, key=lambda file: file.path))


def _remote_file(item: Any) -> RemoteFile | None:
    """One entry of the hub's listing; None for an empty file, which is never part of a model."""
    size_bytes = item.lfs.size if item.lfs is not None else item.size
    sha256 = item.lfs.sha256 if item.lfs is not None else None
    return RemoteFile(item.path, size_bytes, sha256) if size_bytes else None


class _Transfer:
    """Transfer of one file over the network into `target`; each attempt goes on where the last one ended.

    The library's own downloads start over in every process, so a killed one would cost gigabytes: its session,
    tokens, addresses and errors are used here, and the range request is ours.
    """

    def __init__(
        self, location: str, target: Path, *, size_bytes: int, headers: Mapping[str, str], on_bytes: OnBytes
    ) -> None:
        self.location = location
        self.target = target
        self.size_bytes = size_bytes
        self.headers = dict(headers)
        self.on_bytes = on_bytes
        target.touch()
        if target.stat().st_size > size_bytes:
            os.truncate(target, 0)
        self.have_bytes = target.stat().st_size
        on_bytes(self.have_bytes)

    def resume(self) -> None:
        """One attempt. Raises what the library raises, or OSError for a transfer that ended early or ran over."""
        from huggingface_hub import constants, get_session
        from huggingface_hub.utils import hf_raise_for_status

        if self.have_bytes < self.size_bytes:
            headers = dict(self.headers)
            if self.have_bytes:
                headers["Range"] = f"bytes={self.have_bytes}-"
            timeout_s = constants.HF_HUB_DOWNLOAD_TIMEOUT
            session = get_session()
            with session.stream("GET", self.location, headers=headers, timeout=timeout_s) as response:
                if response.status_code == 416:
                    self._rewind()
                hf_raise_for_status(response)
                if self.have_bytes and response.status_code != 206:
                    self._rewind()  # the host ignores ranges: this is the whole file
                self._append(response.iter_bytes(chunk_size=CHUNK_BYTES))
        if self.have_bytes != self.size_bytes:
            raise _BrokenTransfer

    def _append(self, chunks: Any) -> None:
        with self.target.open("ab") as file:
            for chunk in chunks:
                if self.have_bytes + len(chunk) > self.size_bytes:
                    self._rewind()
                    raise _BrokenTransfer
                file.write(chunk)
                file.flush()
                self.have_bytes += len(chunk)
                self.on_bytes(len(chunk))
                crash_point("models.download.chunk")
            fsync_file(file.fileno())

    def _rewind(self) -> None:
        os.truncate(self.target, 0)
        self.on_bytes(-self.have_bytes)
        self.have_bytes = 0


class _BrokenTransfer(Exception):
    """Connection that closed before the file was whole, or brought more than announced."""


def explained(error: Exception, *, what: str, host: str) -> tuple[VoiceJobsError, bool, float]:
    """Our error for one of the library's; whether asking again can help; and the wait that the hub asks for, in s."""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return _explained_answer(error, what=what)
    if isinstance(error, errors.OfflineModeIsEnabled):
        failure: VoiceJobsError = HubUnreachable(
            f"{what} was not fetched: offline mode is on.", hint="Unset HF_HUB_OFFLINE to allow the network."
        )
        return failure, False, 0
    if isinstance(error, (_BrokenTransfer, *_transport_errors())):
        hint = (
            "Check the network and the proxy; what was downloaded is kept, and the next attempt continues from there."
        )
        fault = _plain_name(error)
        is_away = any(word in fault for word in ("connect", "timeout", "refused"))
        reason = f"{host} cannot be reached ({fault})" if is_away else f"the connection to {host} broke"
        return HubUnreachable(f"{what} could not be downloaded: {reason}.", hint=hint), True, 0
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        hint = "Free some space; what was fetched is kept, and the next attempt goes on from there."
        return NoSpaceForModel(f"The disk filled up while {what} was fetched.", hint=hint), False, 0
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"{what} cannot be stored: {error.strerror}."), False, 0
    if isinstance(error, errors.HFValidationError):
        return RepositoryNotFound(f"{what} is no valid repository.", hint='Write "organisation/name".'), False, 0
    hint = "Something between here and the hub may answer in its place: a proxy, a login page, a wrong HF_ENDPOINT."
    return HubRefused(f"The answer for {what} is none of a model hub ({_plain_name(error)}).", hint=hint), False, 0


def _plain_name(error: Exception) -> str:
    """A transport error's class as words: ConnectTimeout → "connect timeout"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _transport_errors() -> tuple[type[Exception], ...]:
    """The base of the library's transport errors, whichever HTTP library its version uses."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = tuple(base for base in HfHubHTTPError.__bases__ if base is not OSError)
    return (*bases, ConnectionError, TimeoutError)


def _explained_answer(error: Any, *, what: str) -> tuple[VoiceJobsError, bool, float]:
    from huggingface_hub import errors

    status = error.response.status_code
    token_hint = "Set HF_TOKEN or run `hf auth login`, and accept the model's terms on its page."
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return RepositoryGated(f"The hub does not let us read {what} ({status}).", hint=token_hint), False, 0
    if isinstance(error, errors.RevisionNotFoundError):
        return RepositoryNotFound(f"{what} has no such revision.", hint="Leave the revision out."), False, 0
    is_bad_token = "credentials" in error.response.headers.get("X-Error-Message", "").lower()
    if isinstance(error, errors.RepositoryNotFoundError) or (status == 401 and not is_bad_token):
        # Without a token the hub answers 401 for what does not exist and for what is private alike.
        hint = f"Check the name. If it is private or gated: {token_hint}"
        return RepositoryNotFound(f"The hub knows no {what}, or hides it ({status}).", hint=hint), False, 0
    if status == 401:
        return RepositoryGated(f"The hub refuses our token for {what} (401).", hint=token_hint), False, 0
    if status == 404:
        return RepositoryNotFound(f"The hub has no {what} (404).", hint="Check the name."), False, 0
    wait_s = _retry_after_s(error.response.headers)
    if status == 429:
        return HubRefused(f"The hub wants fewer requests (429, {what}).", hint="Try again later."), True, wait_s
    hint = "Try again later; what was fetched is kept."
    return HubRefused(f"The hub answered {status} for {what}.", hint=hint), status in (*RETRIED_STATUSES, 416), wait_s


def _retry_after_s(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0  # a date: our own pauses will do
