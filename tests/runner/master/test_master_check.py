"""`voicejobs master check`: numbers and verdicts for any audio file."""

import json

import numpy as np
import pytest
import soundfile

from runner.cli.program import run_command
from tests.runner.master.sounds import silence, speech, write_mp3

RATE_HZ = 44_100


def chapter(level=0.25, noise=0.0):
    sound = np.concatenate([
        silence(0.7, rate_hz=RATE_HZ), speech(8, rate_hz=RATE_HZ, level=level), silence(2, rate_hz=RATE_HZ),
    ])  # fmt: skip
    return sound + noise * np.random.default_rng(0).standard_normal(sound.size).astype(np.float32)


@pytest.fixture
def check(capsys):
    def run(*arguments):
        code = run_command(["master", "check", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def check_json(check):
    def run(*arguments):
        code, out, _ = check(*arguments, "--json")
        return code, json.loads(out)["files"]

    return run


def rules_of(entry):
    return {rule["rule"]: rule["passed"] for rule in entry["rules"]}


def test_an_mp3_that_keeps_every_rule_of_acx_passes(check_json, tmp_path):
    write_mp3(tmp_path / "good.mp3", chapter())
    code, [entry] = check_json(tmp_path / "good.mp3", "--preset", "acx")
    assert code == 0 and entry["passed"], rules_of(entry)
    assert set(rules_of(entry)) == {
        "rms", "peak", "noise-floor", "head", "tail", "sample-rate", "bit-rate", "constant-rate", "channels", "duration"
    }  # fmt: skip
    assert entry["file"] == "good.mp3" and entry["bit_rate_kbps"] == 192 and entry["constant_rate"] is True
    assert entry["duration_s"] == pytest.approx(10.7, abs=0.05)


@pytest.mark.parametrize(
    "broken, sound, options",
    [
        ("rms", chapter(0.03), {}),
        ("peak", np.clip(chapter(0.9), -0.99, 0.99), {}),
        ("noise-floor", chapter(noise=3e-3), {}),
        ("head", chapter()[RATE_HZ * 7 // 10 :], {}),
        ("tail", chapter()[: -2 * RATE_HZ], {}),
        ("constant-rate", chapter(), {"constant": False}),
        ("bit-rate", chapter(), {"constant": False}),
        ("sample-rate", chapter(), {"rate_hz": 48_000}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_broken_rule_is_named_and_the_exit_code_is_1(check_json, tmp_path, broken, sound, options):
    write_mp3(tmp_path / "bad.mp3", sound, **options)
    code, [entry] = check_json(tmp_path / "bad.mp3", "--preset", "acx")
    assert code == 1 and not entry["passed"]
    assert rules_of(entry)[broken] is False


def test_files_of_one_book_must_all_be_mono_or_all_stereo(check_json, tmp_path):
    write_mp3(tmp_path / "1.mp3", chapter())
    write_mp3(tmp_path / "2.mp3", np.stack([chapter()] * 2, axis=1))
    code, entries = check_json(tmp_path / "1.mp3", tmp_path / "2.mp3", "--preset", "acx")
    assert code == 1 and [rules_of(entry)["channels"] for entry in entries] == [True, False]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.aiff"])
def test_every_kind_of_audio_is_measured(check_json, tmp_path, name):
    soundfile.write(tmp_path / name, chapter(), RATE_HZ)
    code, [entry] = check_json(tmp_path / name, "--preset", "none")
    assert code == 0 and entry["rules"] == [] and entry["passed"]
    assert entry["integrated_lufs"] == pytest.approx(check_json(tmp_path / name)[1][0]["integrated_lufs"])
    assert entry["head_s"] == pytest.approx(0.7, abs=0.05)


def test_what_a_podcast_wants_depends_on_its_channels(check_json, tmp_path):
    mono = speech(8, rate_hz=RATE_HZ, level=0.25)
    soundfile.write(tmp_path / "mono.wav", mono, RATE_HZ)
    soundfile.write(tmp_path / "stereo.wav", np.stack([mono, mono], axis=1), RATE_HZ)
    _, entries = check_json(tmp_path / "mono.wav", tmp_path / "stereo.wav", "--preset", "podcast")
    limits = [rule["limit"] for entry in entries for rule in entry["rules"] if rule["rule"] == "loudness"]
    assert limits == [[-20.0, -18.0], [-17.0, -15.0]]


def test_silence_has_no_loudness_and_fails_without_an_error(check_json, tmp_path):
    soundfile.write(tmp_path / "quiet.wav", silence(3), 24_000)
    code, [entry] = check_json(tmp_path / "quiet.wav", "--preset", "ebu")
    assert code == 1 and entry["integrated_lufs"] is None and entry["peak_db"] == -120


def test_people_read_numbers_and_verdicts(check, tmp_path):
    write_mp3(tmp_path / "quiet.mp3", chapter(0.03))
    code, out, _ = check(tmp_path / "quiet.mp3", "--preset", "acx")
    assert code == 1
    assert "quiet.mp3: 11 s, 44100 Hz, mono, 192 kbit/s constant" in out
    assert "FAIL rms" in out and "-23 to -18" in out and "ok   peak" in out


def test_a_file_that_is_not_there_has_exit_code_3(check, tmp_path):
    code, out, err = check(tmp_path / "nowhere.mp3")
    assert code == 3 and out == "" and "nowhere.mp3" in err


def test_a_file_that_is_no_audio_is_named_and_the_others_are_measured(check_json, check, tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan] * 500), 24_000, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 24_000)
    soundfile.write(tmp_path / "good.flac", chapter(), RATE_HZ)
    files = [tmp_path, tmp_path / "notes.txt", tmp_path / "nan.wav", tmp_path / "empty.wav", tmp_path / "good.flac"]
    code, [entry] = check_json(*files, "--preset", "none")
    assert code == 1 and entry["file"] == "good.flac"
    _, _, err = check(*files, "--preset", "none")
    assert "is a folder" in err and "is a text file" in err
    assert "nan.wav holds samples that are not finite numbers" in err and "empty.wav holds no samples" in err
