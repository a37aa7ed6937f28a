"""The examples of docs/registry.md, run in their order."""

import doctest
import re
from pathlib import Path

from registry.storage.digests import canonical_json, take_key, voice_digest

PAGE = Path(__file__).parents[2] / "docs" / "registry.md"


def test_every_example_of_the_registry_page_does_what_it_says(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE))
    names = {"state_dir": tmp_path / "state"}
    test = doctest.DocTestParser().get_doctest(examples, names, "registry.md", str(PAGE), 0)
    said: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(
        test, out=said.append, clear_globs=False
    )
    test.globs["registry"].close()
    assert results.failed == 0, "".join(said)
    assert results.attempted > 40


def test_the_page_names_everything_that_a_digest_covers():
    text = PAGE.read_text(encoding="utf-8")
    covered = {name for name in voice_digest.__annotations__ if name != "return"}
    keyed = {name for name in take_key.__annotations__ if name not in ("return", "voice_digest")}
    assert [name for name in sorted(covered | keyed) if f"`{name}`" not in text] == []


def test_canonical_json_is_as_the_page_says():
    assert canonical_json({"b": 1.0, "a": "é\n"}) == '{"a":"é\\n","b":1.0}'
