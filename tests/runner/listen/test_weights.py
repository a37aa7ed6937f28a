"""Weights of recognisers: found, adopted or refused before anything is heard; and hearing by faster-whisper itself."""

import pytest
import soundfile

from models.errors import EngineFailure, HubUnreachable
from models.listen import recognisers
from models.protocol import SAMPLE_RATE_HZ
from registry.errors import InvalidInput, VoiceJobsError
from runner.cli.program import run_command
from runner.listen.weights import Weights, with_weights
from tests.models.store.making import COMMIT, hub_cache, speech_model
from tests.natural_speech import BREEZE, spoken
from tests.runner.worker.bench import speak
from tests.whisper_models import hearing_whisper, whisper_folder

SMALL = "Systran/faster-whisper-small"
TRANSCRIBE = 'kind = "transcribe"\naudio = "memo.wav"\nlanguage = "en"\n'


@pytest.fixture
def installed(monkeypatch):
    """As where the package is installed, which nothing here imports."""
    monkeypatch.setitem(recognisers.PACKAGES, "faster-whisper", ("json", "whisper"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.usefixtures("installed")
def test_a_size_is_taken_from_where_faster_whisper_has_it(instance, home, tmp_path):
    hub_cache(home / ".cache/huggingface/hub", SMALL, whisper_folder(tmp_path / "source"))
    ready = with_weights("faster-whisper:small", instance)
    assert ready == f"faster-whisper:{home}/.local/share/SharedModels/Systran_faster-whisper-small"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["./ears/own", "ears/own"])
def test_a_folder_is_relative_to_the_instance(instance, name):
    whisper_folder(instance.root / "ears/own")
    assert with_weights(f"faster-whisper:{name}", instance) == f"faster-whisper:{instance.root}/ears/own"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "There is no folder"),
        ("./empty", "holds no model that we can load"),
        ("./speaks", "is no Whisper model"),
        ("./half", "model.bin is missing"),
        ("smal", "knows no size 'smal'"),
    ],
)
def test_what_cannot_listen_is_named_before_anything_is_heard(instance, name, message):
    (instance.root / "empty").mkdir()
    speech_model(instance.root / "speaks")
    whisper_folder(instance.root / "half", missing=["model.bin"])
    with pytest.raises(VoiceJobsError, match=message) as caught:
        with_weights(f"faster-whisper:{name}", instance)
    assert caught.value.hint


def test_a_package_that_is_missing_is_said_before_gigabytes_are_fetched(instance, monkeypatch):
    monkeypatch.setitem(recognisers.PACKAGES, "faster-whisper", ("no_such_module", "whisper"))
    with pytest.raises(InvalidInput, match="no-such-module") as caught:
        with_weights("faster-whisper:small", instance)
    assert "pip install 'faster-whisper" in caught.value.hint


@pytest.mark.usefixtures("installed")
def test_a_runner_that_stops_does_not_wait_for_a_download(instance, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EngineFailure, match="stopping"):
        Weights(instance).ready("faster-whisper:small", is_stopping=lambda: True)


class WithoutNetwork:
    def ready(self, recogniser, *, is_stopping):  # noqa: ARG002
        raise HubUnreachable(f"{recogniser} could not be downloaded.", hint="")


def test_a_hub_that_cannot_be_reached_makes_the_recording_wait_and_no_other_job(listening_bench):
    bench = listening_bench(recogniser="faster-whisper:small")
    bench.worker.listen._weights = WithoutNetwork()
    soundfile.write(bench.instance.inbox / "memo.wav", spoken(BREEZE), SAMPLE_RATE_HZ)
    bench.drop("said.toml", TRANSCRIBE)
    bench.drop("other.toml", speak("Hello."))
    bench.run()
    assert bench.status("other") == "done"
    assert not (bench.instance.outbox / "said" / "result.json").exists()
    assert [wait.what for wait in bench.worker._delayed.values()] == ["network"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "severity", "text"),
    [
        ("faster-whisper:tiny", "note", "78.0 MB, and is fetched when it is first needed"),
        ("faster-whisper:./own", "ok", "listens, from"),
        ("faster-whisper:./half", "problem", "no whole Whisper model"),
        ("faster-whisper:./nowhere", "problem", "There is no folder"),
        ("parrot", "problem", "no recogniser 'parrot'"),
    ],
)
def test_the_doctor_says_whether_the_recogniser_can_listen(make_bench, name, severity, text):
    from runner.doctor.checks import CHECKS

    instance = make_bench(recogniser=name).instance
    whisper_folder(instance.root / "own")
    whisper_folder(instance.root / "half", missing=["model.bin"])
    ((found, message, _),) = CHECKS["recogniser"][1](instance)
    assert (found, text in message) == (severity, True), message


def test_a_recogniser_cannot_speak_and_check_names_what_must_be_fetched(instance, capsys):
    root = str(instance.root)
    (instance.root / "voicejobs.toml").write_text('recogniser = "faster-whisper:small"\n')
    job = instance.root / "job.toml"
    job.write_text(f'verify = "asr"\n{speak("Hello there, world.")}')
    assert run_command(["--root", root, "check", str(job)]) == 0
    assert "faster-whisper:small is not here: 487.0 MB are downloaded first" in capsys.readouterr().err
    assert (
        run_command(["--root", root, "say", "--model", "faster-whisper:small", "-o", str(job) + ".wav", "Hello."]) != 0
    )
    assert "it hears, and cannot speak" in capsys.readouterr().err


@pytest.mark.peers
def test_faster_whisper_hears_recordings_and_takes_from_an_adopted_model(listening_bench, home, tmp_path):
    pytest.importorskip("faster_whisper")
    hub_cache(home / ".cache/huggingface/hub", "Systran/faster-whisper-tiny.en", hearing_whisper(tmp_path / "source"))
    bench = listening_bench(recogniser="faster-whisper:tiny.en", model="hibari")
    soundfile.write(bench.instance.inbox / "memo.wav", spoken(BREEZE), SAMPLE_RATE_HZ)
    bench.drop("said.toml", TRANSCRIBE)
    bench.run()
    receipt = bench.receipt("said")
    assert receipt["status"] == "done"
    assert receipt["heard"]["recogniser"].endswith("Systran_faster-whisper-tiny.en")
    assert bench.worker.listen._weights._found["faster-whisper:tiny.en"].endswith("tiny.en")
    assert COMMIT in (home / ".local/share/SharedModels/Systran_faster-whisper-tiny.en/.voicejobs.json").read_text()
