"""`voicejobs say`: the everyday flags of macOS `say` and diga, through a whole instance with the test engine."""

import io
import sys
from types import SimpleNamespace

import pytest
import soundfile

from models.audio.conversion import encode_as, format_named, m4a_encoder
from models.errors import EncodingFailed, NoEncoder
from registry.errors import InvalidInput
from registry.registry import open_registry
from runner.cli.program import run_command
from runner.cli.speak import SayRequest, wanted_format
from runner.config.instance import open_instance
from runner.config.settings import SETTINGS_FILE
from tests.models.voices.vox_making import seed_era_vox


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    (tmp_path / SETTINGS_FILE).write_text('model = "tests.engines.noop:open_engine"\nmin_free_bytes = 0\n')
    return tmp_path


@pytest.fixture
def piped(monkeypatch):
    def give(text):
        content = text if isinstance(text, bytes) else text.encode()
        stdin = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stdin)

    give("")
    return give


@pytest.fixture
def no_tools(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def tool(no_tools):
    """Puts a program of the system in reach, as a script."""

    def put(name, script):
        path = no_tools / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        path.chmod(0o755)

    return put


def say(*arguments):
    return run_command(["say", *map(str, arguments)])


def test_a_text_becomes_a_file_in_silence(home, capsys):
    assert say("Hello", "there.", "-o", home / "out.wav") == 0
    assert capsys.readouterr() == ("", "")
    assert soundfile.info(home / "out.wav").samplerate == 24_000
    assert list((home / "outbox").iterdir()) == []


def test_pipes_and_files_are_spoken_and_written(home, piped, capsysbinary):
    piped("Hello there.")
    assert say("-o", "piped.wav") == 0
    (home / "text.txt").write_text("\ufeffHello there.", encoding="utf-8")
    assert say("-f", "text.txt", "-o", "file.wav") == 0
    piped("Hello there.")
    assert say("-f", "-", "-o", "-") == 0
    first, second = ((home / name).read_bytes() for name in ("piped.wav", "file.wav"))
    assert first == second == capsysbinary.readouterr().out


def test_a_fine_tuned_model_speaks_with_the_voices_that_it_has(home):
    (home / SETTINGS_FILE).write_text('model = "somebody/fine-tuned"\noffline = true\nmin_free_bytes = 0\n')
    assert say("Hello.", "-v", "preset:Maria Lopez", "-o", "x.wav") == 1  # no such model here, which is asked first


def test_it_plays_where_nothing_is_to_be_written(home, tool):
    tool("aplay", f'cp "$2" {home}/played.wav')
    assert say("Hello.") == 0
    assert soundfile.info(home / "played.wav").samplerate == 24_000


def test_a_preset_that_only_its_engine_knows_is_spoken_by_it_and_by_no_other(home, capsys):
    pytest.importorskip("hibari")
    assert say("Hello.", "-v", "preset:heart", "-o", "x.wav") == 3
    assert say("Hello.", "-v", "preset:heart", "--model", "hibari", "-o", "x.wav") == 0
    assert soundfile.info(home / "x.wav").duration > 0.5
    assert say("Hallo.", "-v", "preset:heart", "--model", "hibari", "--language", "de", "-o", "y.wav") == 1
    assert "does not speak 'german'" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("Hello.", "-v", "nobody", "-o", "x.wav"), 3, "no voice 'nobody'"),
        (("Hello.", "-v", "not a name", "-o", "x.wav"), 3, "no voice 'not a name'"),
        (("Hello.", "-v", "preset:nobody", "-o", "x.wav"), 3, "nobody"),
        (("Hello.", "-v", "nobody.vox", "-o", "x.wav"), 3, "no voice file"),
        (("Hello.", "-o", "no/folder/x.wav"), 3, "no folder"),
        (("Hello.", "-o", "."), 2, "is a folder"),
        (("Hello.", "-o", "x.wav", "--file-format", "wma"), 2, "Unknown audio format"),
        (("Hello.", "-o", "x.xyz"), 2, "Choose wav, aiff, flac, mp3, m4a, ogg"),
        (("Hello.", "-o", "x.wav", "--language", "klingonish"), 2, "voicejobs: language = 'klingonish'"),
        (("  ", "-o", "x.wav"), 2, "no text"),
        (("-o", "x.wav"), 2, "no text"),
        (("Hello.", "-f", "-", "-o", "x.wav"), 2, "not both"),
        (("-f", "missing.txt", "-o", "x.wav"), 2, "cannot be read"),
    ],
)
def test_a_mistake_is_found_before_anything_is_made(piped, capsys, arguments, code, said):
    piped("")
    assert say(*arguments) == code
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_text_that_is_not_utf8_is_a_usage_error(piped):
    piped(b"caf\xe9")
    assert say("-o", "x.wav") == 2


def test_the_voices_are_listed_as_diga_lists_them(home, capsys):
    (home / "elena.vox").write_bytes(seed_era_vox())
    run_command(["voices", "import", "elena.vox"])
    capsys.readouterr()
    assert say("-v", "?") == 0
    out = capsys.readouterr().out
    assert out.startswith("Built-in:\n  ryan\tmale, English\n")
    assert "\n\nCustom:\n  ELENA\tA female voice, 30-40. A seasoned detective.\n" in out
    assert say("--voices") == 0
    assert capsys.readouterr().out == out


def test_a_voice_file_is_taken_into_the_registry_and_leaves_current_alone(home, capsys):
    (home / "elena.vox").write_bytes(seed_era_vox())
    assert run_command(["--set", "offline=true", "say", "Hello.", "-v", "elena.vox", "-o", "x.wav"]) == 1
    assert "1.7B-Base" in capsys.readouterr().err
    with open_registry(open_instance(home).state_dir) as registry:
        assert [version.number for version in registry.history("ELENA")] == [1]
        assert registry.aliases("ELENA") == []


@pytest.mark.parametrize(
    ("output", "stated", "wanted"),
    [
        (None, None, "wav"),
        ("x.aif", None, "aiff"),
        ("x.AIFF", None, "aiff"),
        ("x.flac", None, "flac"),
        ("x.mp3", None, "mp3"),
        ("x.m4a", None, "m4a"),
        ("x.dat", "wav", "wav"),
        ("x", None, "wav"),
        ("x.flac", "aiff", "aiff"),
        ("x.flac", "WAVE", "wav"),
    ],
)
def test_the_format_is_the_stated_one_then_that_of_the_name_then_wav(tmp_path, output, stated, wanted):
    request = SayRequest(text="x", output=tmp_path / output if output else None, format=stated)
    assert wanted_format(request) == wanted


@pytest.mark.parametrize(("name", "kind"), [("wav", "WAV"), ("aiff", "AIFF"), ("flac", "FLAC"), ("mp3", "MP3")])
def test_every_format_holds_the_sound(sine, name, kind):
    content = encode_as(sine, name)
    assert content == encode_as(sine, name)
    assert soundfile.info(io.BytesIO(content)).format == kind


def test_aiff_and_wav_hold_the_same_samples(sine):
    wav, aiff = (soundfile.read(io.BytesIO(encode_as(sine, name)), dtype="int16")[0] for name in ("wav", "aiff"))
    assert (wav == aiff).all()


@pytest.fixture
def sine():
    import numpy as np

    return (0.5 * np.sin(np.arange(24_000) / 10)).astype(np.float32)


def test_m4a_needs_an_encoder_of_the_system():
    with pytest.raises(NoEncoder, match="neither afconvert nor ffmpeg"):
        m4a_encoder(lambda _: None)
    assert m4a_encoder(lambda name: f"/usr/bin/{name}")[0][0] == "/usr/bin/afconvert"
    assert m4a_encoder(lambda name: f"/usr/bin/{name}" if name == "ffmpeg" else None)[0][0] == "/usr/bin/ffmpeg"


def test_m4a_is_what_the_encoder_wrote(sine, tool):
    tool("ffmpeg", 'for last; do :; done; head -c 4 "$6" > "$last"')
    assert encode_as(sine, "m4a") == b"RIFF"


def test_an_encoder_that_fails_is_quoted(sine, tool):
    tool("ffmpeg", 'echo "no such codec" >&2; exit 1')
    with pytest.raises(EncodingFailed, match="no such codec"):
        encode_as(sine, "m4a")


@pytest.mark.usefixtures("home", "no_tools")
def test_m4a_without_an_encoder_is_found_before_anything_is_made(capsys):
    assert say("Hello.", "-o", "x.m4a") == 3
    assert "ffmpeg" in capsys.readouterr().err


@pytest.mark.usefixtures("home", "no_tools")
def test_without_a_player_o_is_offered(capsys):
    assert say("Hello.") == 3
    assert "-o" in capsys.readouterr().err


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(InvalidInput, match="wav, aiff"):
        format_named("wma")
