"""Downloads: once, pinned, verified, resumed, and every failure with its own error and remedy."""

import json
import subprocess
import sys
import threading

import pytest

from models import errors
from models.errors import (
    DownloadCorrupt,
    DownloadFailed,
    HubRefused,
    HubUnreachable,
    ModelIncomplete,
    ModelNotInstalled,
    NoSpaceForModel,
    RepositoryGated,
    RepositoryNotFound,
    UnsupportedCheckpoint,
)
from models.fetch.download import download_model
from models.fetch.download_process import ERRORS
from models.fetch.hub import Hub, is_offline
from models.fetch.prepare import ensure_model
from models.store.availability import Available, Downloading, availability
from models.store.manifest import read_manifest
from tests.models.fetch.test_crashes import ENSURE
from tests.models.store.making import (
    BASE,
    ROOT,
    contents,
    home_environment,
    model_contents,
    other_model,
    run_python,
    slug,
    speech_model,
)
from tests.patience import PATIENCE_S

WEIGHTS = "model.safetensors"
SECRET = "hf_verysecrettoken0123456789"


@pytest.fixture
def source(tmp_path):
    return speech_model(tmp_path / "source")


@pytest.fixture
def commit(hub, source):
    (source / "README.md").write_text("# not needed")
    (source / "picture.png").write_bytes(b"png")
    commit = hub.add_folder(BASE, source)
    (source / "README.md").unlink()
    (source / "picture.png").unlink()
    return commit


@pytest.fixture
def fetch(directory, environment, events, commit):  # noqa: ARG001 - the hub has BASE
    """Download BASE with pauses of no length between attempts."""

    def run(repository=BASE, **more):
        patient = Hub(environment, retry_waits_s=(0, 0, 0), on_retry=lambda reason: events.append(reason))
        folder = directory / slug(repository)
        download_model(repository, folder, environ=environment, hub=patient, on_event=events.append, **more)
        return folder

    return run


def test_a_download_brings_exactly_the_needed_files_and_a_manifest(fetch, source):
    folder = fetch()
    assert model_contents(folder).keys() == {*contents(source), "manifest.json"}
    assert model_contents(folder).items() >= contents(source).items()
    assert read_manifest(folder).model_id == BASE
    assert availability(folder, verify_hashes=True) == Available("verified")


def test_the_commit_is_recorded(fetch, commit, directory, environment):
    fetch()
    assert ensure_model(BASE, directory=directory, environ=environment).revision == commit


def test_every_file_is_asked_for_by_commit_and_not_by_branch(fetch, commit, hub):
    fetch()
    assert {one.path.split("/")[4] for one in hub.asked if "/resolve/" in one.path} == {commit}


def test_a_job_that_names_a_model_fetches_it_once(commit, directory, environment, hub, events):
    first = ensure_model("qwen3-tts-0.6b-base", directory=directory, environ=environment, on_event=events.append)
    asked = len(hub.asked)
    second = ensure_model("qwen3-tts-0.6b-base", directory=directory, environ=environment)
    assert first.folder == second.folder
    assert len(hub.asked) == asked
    assert commit in first.actions_done[0]
    assert second.actions_done == ()
    assert {"download", "progress", "verified", "downloaded"} <= {event.kind for event in events}


def test_progress_counts_every_byte_once(fetch, source, events):
    fetch(progress_every_s=0)
    total = sum(len(content) for content in contents(source).values())
    counts = [event.data["done_bytes"] for event in events if event.kind == "progress"]
    assert counts == sorted(counts)
    assert counts[-1] == total


def test_a_broken_transfer_goes_on_where_it_broke(fetch, commit, hub):
    hub.break_after[WEIGHTS] = [300_000, 5, 100_000]
    assert isinstance(availability(fetch()), Available)
    ranges = [one.range for one in hub.gets(f"{commit}/{WEIGHTS}")]
    assert ranges[0] is None
    assert len(ranges) == 4
    assert all(asked.startswith("bytes=") and asked != "bytes=0-" for asked in ranges[1:])


def test_a_host_that_ignores_ranges_is_served_from_the_beginning(fetch, hub):
    hub.ignores_ranges = True
    hub.break_after[WEIGHTS] = [300_000]
    assert isinstance(availability(fetch(), verify_hashes=True), Available)


def test_a_transfer_that_always_breaks_ends_in_an_error_and_keeps_what_came(fetch, hub, directory):
    hub.break_after[WEIGHTS] = [300_000, *[0] * 9]
    with pytest.raises(HubUnreachable, match=r"could not be downloaded: the connection to .* broke") as caught:
        fetch()
    assert "continues from there" in caught.value.hint
    assert caught.value.retryable
    part = directory / ".incoming" / f"{slug(BASE)}.download" / f"{WEIGHTS}.part"
    assert part.stat().st_size > 200_000
    assert not (directory / slug(BASE)).exists()


def test_damaged_bytes_never_become_visible(fetch, hub, source, directory):
    hub.served_instead[WEIGHTS] = bytes(len((source / WEIGHTS).read_bytes()))
    with pytest.raises(DownloadCorrupt, match="SHA-256"):
        fetch()
    assert not (directory / slug(BASE)).exists()
    hub.served_instead.clear()
    assert isinstance(availability(fetch(), verify_hashes=True), Available)


def test_a_damaged_beginning_is_thrown_away_and_fetched_anew(fetch, hub, source):
    hub.served_instead[WEIGHTS] = bytes(len((source / WEIGHTS).read_bytes()))
    hub.break_after[WEIGHTS] = [300_000, *[0] * 9]
    with pytest.raises(HubUnreachable):
        fetch()
    hub.served_instead.clear()
    hub.break_after.clear()
    assert isinstance(availability(fetch(), verify_hashes=True), Available)


def test_bytes_beyond_the_announced_size_are_refused(fetch, hub, source):
    hub.served_instead[WEIGHTS] = (source / WEIGHTS).read_bytes() + b"more"
    with pytest.raises(HubUnreachable):
        fetch()


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("place", ["revision", f"HEAD /{BASE}", "GET /mlx-community"])
def test_a_passing_fault_of_the_hub_is_waited_out(status, place, fetch, hub, events):
    hub.statuses[place] = once(status, Retry_After="0")
    assert isinstance(availability(fetch()), Available)
    assert any(str(status) in str(event) for event in events)


def once(status, **headers):
    return [(status, {name.replace("_", "-"): value for name, value in headers.items()})]


def always(status, **headers):
    return [("always", once(status, **headers)[0])]


FAILURES = {
    "unknown repository": (always(404, X_Error_Code="RepoNotFound"), RepositoryNotFound, "Check the name"),
    "no such page": (always(404), RepositoryNotFound, "Check the name"),
    "hidden repository": (always(401), RepositoryNotFound, "HF_TOKEN"),
    "refused token": (
        always(401, X_Error_Message="Invalid credentials in Authorization header"), RepositoryGated, "HF_TOKEN",
    ),
    "gated repository": (always(403, X_Error_Code="GatedRepo"), RepositoryGated, "accept the model's terms"),
    "forbidden": (always(403), RepositoryGated, "HF_TOKEN"),
    "too many requests": (always(429), HubRefused, "later"),
    "hub down": (always(503), HubRefused, "later"),
}  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("place", ["/api/", "/resolve/"])
def test_every_refusal_has_its_own_error_and_remedy(failure, place, fetch, hub, directory):
    turns, expected, remedy = FAILURES[failure]
    hub.statuses[place] = turns
    with pytest.raises(expected) as caught:
        fetch()
    assert remedy in caught.value.hint
    assert not (directory / slug(BASE)).exists()


def test_no_network_is_an_error_that_can_pass(directory, home):
    environment = home_environment(home, HF_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
        hub = Hub(environment, retry_waits_s=(0,))
        download_model(BASE, directory / slug(BASE), environ=environment, hub=hub)
    assert caught.value.retryable


def test_a_page_that_is_no_hub_is_told_apart(fetch, hub):
    hub.statuses["/api/"] = [("always", (200, {}))]
    with pytest.raises(HubRefused, match="none of a model hub"):
        fetch()


def test_too_little_space_is_known_before_the_first_byte(fetch, commit, hub):
    hub.announced_sizes[WEIGHTS] = 1 << 60
    with pytest.raises(NoSpaceForModel, match="free"):
        fetch()
    assert hub.gets(f"{commit}/{WEIGHTS}") == []


def test_a_repository_without_usable_weights_is_refused_before_the_first_byte(fetch, hub):
    hub.add(BASE, {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(UnsupportedCheckpoint):
        fetch()


def test_a_repository_that_lacks_a_part_never_becomes_visible(fetch, hub, source, directory):
    (source / "merges.txt").unlink()
    hub.add_folder(BASE, source)
    with pytest.raises(UnsupportedCheckpoint, match=r"merges\.txt"):
        fetch()
    assert not (directory / slug(BASE)).exists()


def test_a_resumed_download_stays_on_the_commit_it_began(fetch, hub):
    hub.break_after[WEIGHTS] = [300_000, *[0] * 9]
    with pytest.raises(HubUnreachable):
        fetch()
    hub.break_after.clear()
    fetch()
    assert [one for one in hub.asked if one.path.endswith("/revision/main")][1:] == []


def test_a_withdrawn_commit_is_given_up_for_the_newest(fetch, hub, tmp_path):
    hub.break_after[WEIGHTS] = [300_000, *[0] * 9]
    with pytest.raises(HubUnreachable):
        fetch()
    hub.break_after.clear()
    newer = speech_model(tmp_path / "newer", seed=9)
    hub.add_folder(BASE, newer)
    assert model_contents(fetch()).items() >= contents(newer).items()


def test_pulling_again_mends_a_damaged_model_and_fetches_only_what_is_wrong(fetch, commit, hub):
    folder = fetch()
    (folder / WEIGHTS).write_bytes(b"damaged")
    hub.asked.clear()
    fetch()
    assert availability(folder, verify_hashes=True) == Available("verified")
    assert hub.gets(f"{commit}/speech_tokenizer/{WEIGHTS}") == []


@pytest.mark.usefixtures("commit")
def test_a_job_never_loads_or_mends_a_broken_model(directory, environment, hub):
    folder = speech_model(directory / slug(BASE))
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelIncomplete, match=WEIGHTS) as caught:
        ensure_model(BASE, directory=directory, environ=environment)
    assert f"models pull {BASE}" in caught.value.hint
    assert hub.asked == []


@pytest.mark.parametrize(
    ("more", "setting"),
    [({"HF_HUB_OFFLINE": "1"}, False), ({"ACERVO_OFFLINE": "1"}, False), ({}, True)],
    ids=["HF_HUB_OFFLINE", "ACERVO_OFFLINE", "setting"],
)
@pytest.mark.usefixtures("commit")
def test_offline_never_touches_the_network(more, setting, directory, environment, hub):
    with pytest.raises(ModelNotInstalled, match="is not in") as caught:
        ensure_model(BASE, directory=directory, environ={**environment, **more}, offline=setting)
    assert "Offline" in caught.value.hint
    assert hub.asked == []


def test_offline_a_model_that_is_there_is_used(directory, environment, hub):
    folder = speech_model(directory / slug(BASE))
    assert ensure_model(BASE, directory=directory, environ=environment, offline=True).folder == folder
    assert hub.asked == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False), ({"ACERVO_OFFLINE": "1"}, True), ({"ACERVO_OFFLINE": "true"}, False),
        ({"ACERVO_OFFLINE": "0"}, False), ({"HF_HUB_OFFLINE": "1"}, True), ({"HF_HUB_OFFLINE": "yes"}, True),
        ({"HF_HUB_OFFLINE": "0"}, False), ({"TRANSFORMERS_OFFLINE": "1"}, True),
    ],
)  # fmt: skip
def test_the_offline_switches_mean_what_their_owners_say(environ, expected):
    assert is_offline(environ) is expected


def ensure_in_process(environment, directory):
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE.format(model=BASE, directory=str(directory))],
        env={**environment, "PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_two_processes_that_want_one_model_fetch_it_once(commit, directory, environment, hub):
    hub.pause = threading.Event()
    racing = [ensure_in_process(environment, directory) for _ in range(2)]
    assert hub.in_transfer.wait(PATIENCE_S)
    state = availability(directory / slug(BASE))
    assert isinstance(state, Downloading)
    assert state.total_bytes > 0
    hub.pause.set()
    outputs = [process.communicate(timeout=PATIENCE_S) for process in racing]
    assert [process.returncode for process in racing] == [0, 0], outputs
    assert {output.strip() for output, _ in outputs} == {str(directory / slug(BASE))}
    assert len(hub.gets(f"{commit}/{WEIGHTS}")) == 1


@pytest.mark.usefixtures("commit")
def test_a_token_goes_to_the_hub_and_into_no_error_or_event(directory, environment, hub):
    environment = {**environment, "HF_TOKEN": SECRET}
    hub.statuses["/resolve/"] = always(403, X_Error_Message=f"token {SECRET} is not enough")
    told = []
    with pytest.raises(RepositoryGated) as caught:
        ensure_model(BASE, directory=directory, environ=environment, on_event=told.append)
    assert any(one.authorization == f"Bearer {SECRET}" for one in hub.asked)
    chain = [caught.value, caught.value.__cause__]
    assert SECRET not in repr([str(error) for error in chain] + told)
    assert SECRET not in "".join(path.read_text() for path in (directory / ".incoming").glob("*.json"))


@pytest.mark.usefixtures("commit")
def test_a_runner_that_downloads_carries_no_network_library(directory, environment, hub):
    program = (
        "import os, sys; from pathlib import Path; from models.fetch.prepare import ensure_model;"
        f"ensure_model({BASE!r}, directory=Path({str(directory)!r}), environ=os.environ);"
        "assert not {'huggingface_hub', 'mlx', 'httpx'} & set(sys.modules)"
    )
    run_python(program, environment=environment)
    assert isinstance(availability(directory / slug(BASE)), Available)
    assert hub.asked != []


@pytest.mark.usefixtures("commit")
def test_a_download_process_that_dies_is_an_error_that_can_pass(directory, environment):
    with pytest.raises(DownloadFailed, match="status 137") as caught:
        environment = {**environment, "VOICEJOBS_CRASH_AT": "models.download.file"}
        ensure_model(BASE, directory=directory, environ=environment)
    assert caught.value.retryable


def test_every_error_of_a_download_crosses_the_process_border():
    ours = {value.code for value in vars(errors).values() if isinstance(value, type) and hasattr(value, "code")}
    assert set(ERRORS) <= ours | {"storage"}
    assert all(cls("message", hint="hint").hint == "hint" for cls in ERRORS.values())


def test_an_id_that_nobody_knows_is_answered_with_the_nearest(directory, environment):
    with pytest.raises(RepositoryNotFound) as caught:
        ensure_model("mlx-community/Qwen3-TTS-12Hz-0.6B-Bass-bf16", directory=directory, environ=environment)
    assert BASE in caught.value.hint


def test_a_model_of_another_kind_can_be_fetched(fetch, hub, tmp_path):
    hub.add_folder("someone/Llama", other_model(tmp_path / "llama"))
    assert isinstance(availability(fetch("someone/Llama")), Available)


def test_the_record_of_a_download_says_where_it_came_from(fetch, commit):
    record = json.loads((fetch() / ".voicejobs.json").read_text())
    assert record == {"repository": BASE, "revision": commit, "source": "download"}
