"""Chapters → files: levels, silences, tags, covers and chapters, as other programs read them."""

import os

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.mp4 import MP4

from runner.master.errors import CoverRefused, SoundRefused
from runner.master.finished_book import make_book
from runner.master.request import ChapterSource, MasterRequest, Piece, Tags
from tests.runner.master.sounds import png_bytes, silence, speech, write_take

TAGS = Tags(
    title="The Night Train", author="Ann Author", narrator="Nora Voice", year="2024", genre="Drama",
    description="Two\nlines", language="german",
)  # fmt: skip


@pytest.fixture
def make(tmp_path):
    """Files of a book, by name, with `mastering.json` and warnings."""

    def run(chapters, *, formats=("flac",), preset="none", split="chapters", **more):
        folder = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        request = MasterRequest(
            folder=str(folder), runner=os.getppid(), preset=preset, formats=formats, split=split, chapters=chapters,
            **{"tags": TAGS, **more},
        )  # fmt: skip
        request = MasterRequest.from_json(request.to_json())
        book = make_book(request, on_progress=[].append)
        assert sorted(path.name for path in folder.iterdir()) == sorted(book.files)
        return folder, book

    return run


@pytest.fixture
def spoken(tmp_path):
    """A chapter of pieces: (voice, level) each, of two seconds and a pause."""

    def chapter(title, *voices, seconds=2.0):
        pieces = []
        for index, (voice, level) in enumerate(voices):
            path = tmp_path / f"{title}-{index}.flac"
            write_take(path, speech(seconds, level=level, seed=index))
            pieces.append(Piece(str(path), voice, 6_000))
        return ChapterSource(title=title, pieces=pieces)

    return chapter


@pytest.fixture
def recorded(tmp_path):
    def chapter(title, sound, rate_hz=24_000, suffix="wav", **how):
        path = tmp_path / f"{title}.{suffix}"
        soundfile.write(path, sound, rate_hz, **how)
        return ChapterSource(title=title, file=str(path))

    return chapter


def sound_of(folder, name):
    return soundfile.read(folder / name, always_2d=True)


# ---- levels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "preset, level", [("audiobook", -19), ("ebu", -23), ("podcast", -19)], ids=lambda value: str(value)
)
def test_every_chapter_has_the_loudness_of_the_preset_whatever_it_had(make, recorded, preset, level):
    chapters = [recorded("Quiet", speech(4, level=0.01)), recorded("Loud", speech(4, level=0.4))]
    _, book = make(chapters, formats=["wav", "mp3"], preset=preset)
    files = book.mastering["files"]
    assert [file["integrated_lufs"] for file in files] == pytest.approx([level] * 4, abs=0.3)
    assert all(file["passed"] for file in files) and book.warnings == []


def test_acx_files_keep_every_rule_of_acx(make, recorded):
    chapters = [recorded("One", speech(6, level=0.02)), recorded("Two", speech(6, level=0.3))]
    _, book = make(chapters, formats=["mp3"], preset="acx")
    assert [(file["file"], file["passed"]) for file in book.mastering["files"]] == [
        ("01 - One.mp3", True), ("02 - Two.mp3", True)
    ]  # fmt: skip
    assert book.mastering["files"][0]["bit_rate_kbps"] == 192
    assert book.mastering["files"][0]["rms_db"] == pytest.approx(-20, abs=0.2)


def test_two_voices_of_a_chapter_become_equally_loud(make, spoken):
    quiet_and_loud = spoken("Both", ("a", 0.03), ("b", 0.3), ("a", 0.03), ("b", 0.3))
    folder, _ = make([quiet_and_loud], formats=["wav"], preset="ebu")
    sound, rate_hz = sound_of(folder, "01 - Both.wav")
    powers = [np.square(sound[round(at * rate_hz) : round((at + 2) * rate_hz)]).mean() for at in (0, 2.25)]
    assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(0, abs=0.7)


def test_without_a_preset_not_a_sample_changes(make, spoken):
    chapter = spoken("As it is", ("a", 0.03), ("b", 0.3))
    folder, book = make([chapter], formats=["flac"])
    sound, rate_hz = sound_of(folder, "01 - As it is.flac")
    first, _ = soundfile.read(chapter.pieces[0].path)
    assert rate_hz == 24_000 and book.mastering["files"][0]["rules"] == []
    assert np.abs(sound[: first.size, 0] - first).max() < 2**-15


def test_peaks_are_limited_and_a_limit_that_cannot_be_met_is_a_warning_that_names_the_rule(make, recorded):
    noisy = speech(5, level=0.2) + 0.01 * np.random.default_rng(0).standard_normal(5 * 24_000)
    sparse = silence(6)
    sparse[::6_000] = 0.9
    _, book = make([recorded("Noisy", noisy), recorded("Clicks", sparse)], formats=["wav"], preset="acx")
    assert all(file["peak_db"] <= -3 for file in book.mastering["files"])
    assert "01 - Noisy.wav breaks the rule noise-floor" in " ".join(book.warnings)
    assert "02 - Clicks.wav breaks the rule rms" in " ".join(book.warnings)


def test_silence_before_and_after_is_made_as_long_as_the_preset_wants(make, recorded):
    long = np.concatenate([silence(3), speech(4, level=0.2), silence(8)])
    _, book = make([recorded("Short", speech(4, level=0.2)), recorded("Long", long)], formats=["wav"], preset="acx")
    assert [file["head_s"] for file in book.mastering["files"]] == pytest.approx([0.75, 0.75], abs=0.05)
    assert [file["tail_s"] for file in book.mastering["files"]] == pytest.approx([2, 2], abs=0.3)


def test_room_tone_takes_the_place_of_digital_silence(make, recorded):
    sound = np.concatenate([speech(2, level=0.2), silence(2), speech(2, level=0.2)])
    folder, book = make([recorded("Room", sound)], formats=["wav"], preset="audiobook", room_tone=True)
    assert book.mastering["files"][0]["noise_floor_db"] == pytest.approx(-72, abs=1)
    written, rate_hz = sound_of(folder, "01 - Room.wav")
    assert np.abs(written[: rate_hz // 4]).max() > 0


# ---- tags, covers, chapters ----------------------------------------------------------------------------------------


@pytest.fixture
def cover(tmp_path):
    path = tmp_path / "cover.png"
    path.write_bytes(png_bytes())
    return str(path)


def test_an_m4b_has_both_kinds_of_chapters_tags_and_cover(make, recorded, cover):
    chapters = [recorded(title, speech(2, seed=index)) for index, title in enumerate(["Abfahrt", "Nacht", "Ankunft"])]
    folder, book = make(chapters, formats=["m4b"], preset="audiobook", cover=cover)
    assert book.files == ["The Night Train.m4b"]
    read = MP4(folder / "The Night Train.m4b")
    tags = read.tags
    assert [(mark.title, round(mark.start, 2)) for mark in read.chapters] == [
        (mark["title"], pytest.approx(mark["start_s"], abs=0.02)) for mark in book.mastering["chapters"]
    ]
    assert (tags["\xa9nam"], tags["\xa9ART"], tags["\xa9wrt"]) == (["The Night Train"], ["Ann Author"], ["Nora Voice"])
    assert (tags["\xa9day"], tags["\xa9gen"], tags["desc"], tags["stik"]) == (["2024"], ["Drama"], ["Two\nlines"], [2])
    assert bytes(tags["covr"][0]) == png_bytes()
    content = (folder / "The Night Train.m4b").read_bytes()
    assert content[4:11] == b"ftypM4B" and b"chpl" in content  # Nero's list; the track of texts:
    assert b"text" in content and content.count(b"Abfahrt") >= 2


def test_three_hundred_chapters_are_all_there(make, recorded):
    source = recorded("x", speech(0.2)).file
    chapters = [ChapterSource(title=f"Chapter {number}", file=source) for number in range(1, 301)]
    folder, book = make(chapters, formats=["m4b"])
    assert len(book.mastering["chapters"]) == 300
    import av

    with av.open(str(folder / book.files[0])) as container:
        titles = [each["metadata"]["title"] for each in container.chapters()]
    assert titles == [f"Chapter {number}" for number in range(1, 301)]


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_file_a_chapter_has_its_title_track_tags_and_cover(make, recorded, cover, kind):
    second = ChapterSource(title="Nacht: Teil 2/3", file=recorded("n", speech(1)).file)
    chapters = [recorded("Abfahrt", speech(1)), second]
    folder, book = make(chapters, formats=[kind], cover=cover)
    assert book.files == [f"01 - Abfahrt.{kind}", f"02 - Nacht Teil 2 3.{kind}"]
    read = mutagen.File(folder / book.files[1], easy=True)
    assert (read["title"], read["album"], read["artist"]) == (["Nacht: Teil 2/3"], ["The Night Train"], ["Ann Author"])
    assert read["tracknumber"][0].startswith("2") and read["genre"] == ["Drama"] and read["date"] == ["2024"]
    whole = mutagen.File(folder / book.files[1])
    picture = whole.pictures[0].data if kind == "flac" else whole.tags.getall("APIC")[0].data
    assert picture == png_bytes()
    sound, _ = sound_of(folder, book.files[1])
    assert len(sound) == 24_000


def test_one_mp3_for_all_has_its_chapters_in_the_tag(make, recorded):
    folder, book = make([recorded("A", speech(1)), recorded("B", speech(2))], formats=["mp3"], split="none")
    tags = mutagen.File(folder / book.files[0]).tags
    found = [
        (chapter.sub_frames["TIT2"].text[0], chapter.start_time, chapter.end_time) for chapter in tags.getall("CHAP")
    ]
    assert book.files == ["The Night Train.mp3"]
    assert found == [("A", 0, 1000), ("B", 1000, 3000)]


def test_a_wav_says_its_title_and_author(make, recorded):
    folder, book = make([recorded("A", speech(1))], formats=["wav"])
    with soundfile.SoundFile(folder / book.files[0]) as file:
        assert (file.title, file.artist, file.album) == ("A", "Ann Author", "The Night Train")


def test_titles_that_are_no_file_names_and_titles_that_collide_give_files_all_the_same(make, recorded):
    source = recorded("x", speech(0.5)).file
    titles = ["", "..", "A/B", "a/b", "x" * 400, "Zeile\x00\n2", "CON"]
    _, book = make([ChapterSource(title=title, file=source) for title in titles])
    assert [name[:12] for name in book.files] == [
        "01 - The Nig", "02 - Untitle", "03 - A B.fla", "04 - a b.fla", "05 - xxxxxxx", "06 - Zeile 2", "07 - CON.fla"
    ]  # fmt: skip
    assert all(len(name.encode()) <= 200 for name in book.files)


# ---- sources of every kind -------------------------------------------------------------------------------------------


def test_sources_of_other_rates_and_channels_become_one_book(make, recorded):
    stereo = np.stack([speech(2, rate_hz=48_000), speech(2, rate_hz=48_000, seed=2)], axis=1)
    surround = np.stack([speech(2, rate_hz=44_100)] * 6, axis=1)
    chapters = [
        recorded("mono", speech(2, rate_hz=8_000), 8_000),
        recorded("stereo", stereo, 48_000, suffix="flac"),
        recorded("surround", surround, 44_100),
    ]
    folder, book = make(chapters, formats=["wav", "m4b"], preset="podcast", split="none")
    assert [(file["channels"], file["sample_rate_hz"]) for file in book.mastering["files"]] == [(2, 44_100)] * 2
    assert book.mastering["files"][0]["integrated_lufs"] == pytest.approx(-16, abs=0.5)
    sound, _ = sound_of(folder, "The Night Train.wav")
    assert np.array_equal(sound[: 2 * 44_100, 0], sound[: 2 * 44_100, 1])


def test_mono_stays_mono(make, recorded):
    _, book = make([recorded("a", speech(1)), recorded("b", speech(1, rate_hz=48_000), 48_000)], formats=["mp3"])
    assert {file["channels"] for file in book.mastering["files"]} == {1}


def test_a_silent_chapter_is_warned_of_and_stays_silent(make, recorded):
    folder, book = make([recorded("a", speech(3)), recorded("Hush", silence(3))], formats=["wav"], preset="audiobook")
    assert "Chapter 2 (Hush) is silent." in book.warnings
    assert not sound_of(folder, "02 - Hush.wav")[0].any()


@pytest.mark.parametrize(
    "sound, says",
    [(np.array([0.0, np.nan] * 5_000), "not finite"), (np.zeros(0), "no samples")],
    ids=["nan", "empty"],
)
def test_sound_that_cannot_be_used_is_refused_by_name(make, recorded, sound, says):
    with pytest.raises(SoundRefused, match=f"bad.wav holds .*{says}|bad.wav holds {says}"):
        make([recorded("good", speech(1)), recorded("bad", sound, subtype="FLOAT")])


@pytest.mark.parametrize(
    "content, says",
    [
        (b"GIF89a", "no JPEG or PNG"),
        (png_bytes()[:60], "no JPEG or PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "no JPEG or PNG"),
        (png_bytes() + bytes(9_000_000), "bytes"),
        (b"PK\x03\x04 no book", "no EPUB"),
    ],
    ids=["gif", "cut", "jpeg", "large", "zip"],
)
def test_a_cover_that_is_no_picture_or_too_large_is_refused(make, recorded, tmp_path, content, says):
    (tmp_path / "cover.jpg").write_bytes(content)
    with pytest.raises(CoverRefused, match=says):
        make([recorded("a", speech(1))], cover=str(tmp_path / "cover.jpg"))
