"""Thousands of mutated voice files and prompts: each is imported or refused with a reason, and nothing else happens.

The short form runs always; `-m slow` runs 5,000.
"""

import io
import random
import resource
import sys
import tracemalloc
import zipfile

import pytest

from models.errors import InvalidClonePrompt
from models.voices.swift_prompt import parse_swift_prompt
from models.voices.vox_manifest import manifest_bytes, parse_manifest
from registry.errors import VoiceJobsError
from registry.registry import open_registry
from runner.exchange.exporter import ConsentMissing, export_voice
from runner.exchange.importer import add_versions, read_voice_file, store
from runner.exchange.voice_import import VoiceImport
from tests.models.voices.vox_making import a_manifest, a_swift_prompt, a_wav, an_archive, many_sized_vox, seed_era_vox

MAX_MEMORY_BYTES = 96 << 20
SHORT, LONG = 300, 5_000


def flipped(content, draw):
    """A few bytes changed."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def cut(content, draw):
    return content[: draw.randrange(len(content))]


def with_hole(content, draw):
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 64) :]


def doubled(content, draw):
    start = draw.randrange(len(content))
    return content[:start] + content[start : start + draw.randint(1, 200)] + content[start:]


def large_numbers(content, draw):
    """Somewhere, four bytes claim to be much."""
    data = bytearray(content)
    start = draw.randrange(max(1, len(data) - 4))
    data[start : start + 4] = draw.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0"])
    return bytes(data)


MUTATIONS = (flipped, cut, with_hole, doubled, large_numbers)
STRANGE = (
    None, True, 0, -1, 1e308, "", "x", "../../x", "/etc/passwd", "embeddings/", [], {}, [None], {"": None}, "é" * 5000,
)  # fmt: skip


def strange_json(value, draw):
    """A JSON value with one member, somewhere inside, put in place of another."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        return {**value, key: strange_json(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        return [*value[:at], strange_json(value[at], draw), *value[at + 1 :]]
    return draw.choice(STRANGE)


def mutated_inside(content, draw):
    """A whole archive whose manifest, or one of whose entries, is not as it should be."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    files = {info.filename: archive.read(info) for info in archive.infolist()}
    manifest = parse_manifest(files.pop("manifest.json"))
    if draw.random() < 0.6 or not files:
        manifest = strange_json(manifest, draw)
    else:
        path = draw.choice(sorted(files))
        files[path] = draw.choice(MUTATIONS)(files[path] or b"x", draw)
    return an_archive(manifest_bytes(manifest), deflate=draw.random() < 0.3, **files)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """One file of each kind: three of other tools, one of our own, one bare prompt."""
    clip = [{"file": "reference/a.wav", "transcript": "One two three, four."}]
    with open_registry(tmp_path_factory.mktemp("origin")) as registry:
        land(registry, read_voice_file(many_sized_vox(), file_name="a.vox"))
        with registry.db.read() as session:
            own = export_voice(session, registry.objects, "ELENA").content
    recorded = an_archive(a_manifest(reference_audio=clip), **{"reference/a.wav": a_wav(1.5)})
    return [seed_era_vox(), many_sized_vox(), own, recorded, a_swift_prompt().to_bytes()]


def land(registry, found: VoiceImport):
    if found.needs_lock is None:
        store(registry.objects, found)
        with registry.db.write() as session:
            add_versions(session, found, now_s=1.0)


def leave(registry, found: VoiceImport):
    """What came in can go out again, and is then a file that can be read; or it may not, with a reason."""
    if found.needs_lock is not None:
        return
    try:
        with registry.db.read() as session:
            content = export_voice(session, registry.objects, found.voice).content
    except ConsentMissing:
        return
    again = read_voice_file(content, file_name="again.vox")
    assert again.voice == found.voice


def mutants(originals, count):
    draw = random.Random(20_260_214)
    for _ in range(count):
        content = draw.choice(originals)
        mutate = mutated_inside if content[:2] == b"PK" and draw.random() < 0.5 else draw.choice(MUTATIONS)
        yield mutate(content, draw)


def import_all(originals, count, folder):
    """How many mutants were imported and refused; every third of the good ones goes into a registry for real."""
    imported = refused = 0
    with open_registry(folder / "registry") as registry:
        for content in mutants(originals, count):
            try:
                found = read_voice_file(
                    content, file_name="mutant.vox" if content[:2] == b"PK" else "mutant.cloneprompt"
                )
                imported += 1
                if imported % 3 == 0:
                    land(registry, found)
                    leave(registry, found)
            except VoiceJobsError as error:
                assert len(error.message) > 10, error
                assert len(error.message) < 4_000
                refused += 1
        assert registry.fsck().sound
    return imported, refused


def check(originals, count, tmp_path):
    imported, refused = import_all(originals, count, tmp_path)
    assert imported + refused == count
    assert min(imported, refused) > count // 20
    assert [path.name for path in tmp_path.iterdir()] == ["registry"]


def test_mutated_files_are_imported_or_refused_with_a_reason(originals, tmp_path):
    check(originals, SHORT, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_thousands_of_mutated_files_are_imported_or_refused_with_a_reason(originals, tmp_path):
    before = peak_bytes()
    check(originals, LONG, tmp_path)
    assert peak_bytes() - before < 4 * MAX_MEMORY_BYTES


def peak_bytes():
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes


def test_memory_stays_bounded_whatever_a_file_claims(originals):
    tracemalloc.start()
    try:
        for content in mutants(originals, 60):
            try:
                read_voice_file(content, file_name="mutant.vox")
            except VoiceJobsError:
                continue
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [2_000])
def test_mutated_prompts_are_read_or_refused(count):
    draw = random.Random(7)
    content = a_swift_prompt(1024, frames=3).to_bytes()
    for _ in range(count):
        try:
            parse_swift_prompt(draw.choice(MUTATIONS)(content, draw))
        except InvalidClonePrompt as error:
            assert len(error.message) < 500
