"""Whisper models as CTranslate2 stores them: a tiny one that hears nonsense, and a folder that only looks like one."""

import json
import struct

import numpy as np

BYTES_KEPT = [*range(33, 127), *range(161, 173), *range(174, 256)]  # of a byte-level vocabulary, as they are
SPECIAL = [
    "<|endoftext|>", "<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>",
    "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip
TIMES = [f"<|{step / 50:.2f}|>" for step in range(1501)]
WIDTH, HEADS, MELS, FRAMES, POSITIONS = 16, 2, 80, 1500, 448


def whisper_folder(folder, *, network="WhisperSpec", seed=0, missing=()):
    """A folder with all files of a Whisper model, its weights two tensors that no network could use."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"encoder/conv1/weight": (4, 3, 2), "decoder/embeddings/weight": (50, 4)}
    draw = np.random.default_rng(seed)
    body = [struct.pack("<I", 6), _text(network), struct.pack("<II", 3, len(tensors))]
    for name, shape in tensors.items():
        raw = draw.standard_normal(shape).astype("<f4").tobytes()
        body += [_text(name), struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, 0, len(raw)), raw]
    (folder / "model.bin").write_bytes(b"".join([*body, struct.pack("<I", 0)]))
    keys = ("suppress_ids", "suppress_ids_begin", "lang_ids", "alignment_heads")
    (folder / "config.json").write_text(json.dumps({key: [] for key in keys}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "vocabulary.txt").write_text("a\nb\n")
    for name in missing:
        (folder / name).unlink()
    return folder


def _text(text):
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def hearing_whisper(folder, *, seed=0):
    """A Whisper model of English with random weights, which faster-whisper loads; needs that package."""
    from ctranslate2.specs import WhisperSpec
    from ctranslate2.specs.model_spec import visit_spec

    folder.mkdir(parents=True)
    words = [*_bytes_as_words(), *SPECIAL, *TIMES]
    draw = np.random.default_rng(seed)
    spec = WhisperSpec(1, HEADS, 1, HEADS)

    def fill(layer, name, value):
        if value is None or name.endswith("/encodings"):
            array = draw.standard_normal(_shape(name, words=len(words))).astype(np.float32)
            setattr(layer, name.rsplit("/")[-1], array * np.float32(0.3))

    visit_spec(spec, fill)
    spec.register_vocabulary(words)
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.validate()
    spec.save(str(folder))
    _tokenizer(words).save(str(folder / "tokenizer.json"))
    return folder


def _shape(name, *, words):
    """Shape of a weight by its name."""
    layer, kind = name.split("/")[-2:]
    if kind in ("gamma", "beta"):
        return (WIDTH,)
    if kind == "encodings":
        return (FRAMES if name.startswith("encoder") else POSITIONS, WIDTH)
    if layer in ("conv1", "conv2"):
        return (WIDTH, MELS if layer == "conv1" else WIDTH, 3)
    if layer in ("embeddings", "projection"):
        return (words, WIDTH)
    part = name.split("/")[-3]
    if part == "ffn":
        return (4 * WIDTH, WIDTH) if layer == "linear_0" else (WIDTH, 4 * WIDTH)
    fused = {("self_attention", "linear_0"): 3, ("attention", "linear_1"): 2}  # queries, keys and values; the last two
    return (fused.get((part, layer), 1) * WIDTH, WIDTH)


def _bytes_as_words():
    """A character for each byte, as byte-level tokenizers write them."""
    others = (256 + index for index in range(256))
    return [chr(byte if byte in BYTES_KEPT else next(others)) for byte in range(256)]


def _tokenizer(words):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(words[:256])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in words[256:]])
    return tokenizer
