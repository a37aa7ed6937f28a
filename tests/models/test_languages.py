"""Language tags as people write them."""

import pytest

from models.errors import LanguageNotSpoken, UnknownLanguage
from models.languages import _by_code, _table_lines, canonical_language, resolve_language

QWEN = ("chinese", "english", "german", "italian", "portuguese", "spanish", "japanese", "korean", "french", "russian")


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("en", "english"),
        ("EN", "english"),
        ("eng", "english"),
        ("en-US", "english"),
        ("en_GB", "english"),
        ("English", "english"),
        (" german ", "german"),
        ("ger", "german"),
        ("deu", "german"),
        ("de-CH-1996", "german"),
        ("zh", "chinese"),
        ("zh-Hans-CN", "chinese"),
        ("zh_Hant_TW", "chinese"),
        ("cmn", "chinese"),
        ("Mandarin", "chinese"),
        ("zh-yue", "cantonese"),
        ("yue-HK", "cantonese"),
        ("pt-BR", "portuguese"),
        ("Brazilian Portuguese", "portuguese"),
        ("es-419", "spanish"),
        ("nb-NO", "norwegian"),
        ("fil", "tagalog"),
        ("Scottish_Gaelic", "scottish gaelic"),
        ("en-x-home", "english"),
        ("de-u-co-phonebk", "german"),
        ("AUTO", "auto"),
    ],
)
def test_a_language_may_be_written_as_a_code_a_tag_or_an_english_name(tag, name):
    assert canonical_language(tag) == name


@pytest.mark.parametrize("tag", ["", " ", "xx", "qqq", "en-", "-en", "en US", "klingonese", "e", "en\0", "a" * 5000])
def test_what_names_no_language_is_an_error_with_a_way_out(tag):
    with pytest.raises(UnknownLanguage) as caught:
        canonical_language(tag)
    assert caught.value.hint
    assert len(str(caught.value)) < 400


def test_a_misspelt_language_names_the_nearest():
    with pytest.raises(UnknownLanguage, match="english"):
        canonical_language("Englsh")


@pytest.mark.parametrize("tag", ["beijing_dialect", "Sichuan_Dialect", "sichuan dialect"])
def test_a_dialect_is_refused_as_a_language(tag):
    with pytest.raises(UnknownLanguage, match="belongs to a preset voice"):
        canonical_language(tag)


def test_a_model_that_lacks_the_language_refuses_and_says_what_it_speaks():
    with pytest.raises(LanguageNotSpoken, match=r"dutch.*chinese, english"):
        resolve_language("nl", QWEN)


def test_auto_and_an_engine_without_a_list_take_anything():
    assert resolve_language("auto", QWEN) == "auto"
    assert resolve_language("nl", ()) == "dutch"
    assert resolve_language("ja-JP", QWEN) == "japanese"


def test_no_code_means_two_languages():
    codes = [code for _, codes, _ in _table_lines() for code in codes]
    assert len(codes) == len(set(codes)) == len(_by_code())


def test_every_canonical_name_is_its_own_canonical_name():
    names = [name for name, _, _ in _table_lines()]
    assert [canonical_language(name) for name in names] == names == sorted(names)


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("Deutsch", "german"), ("français", "french"), ("franc\u0327ais", "french"), ("中文", "chinese"),
        ("español", "spanish"), ("日本語", "japanese"), ("РУССКИЙ", "russian"), ("Português do Brasil", "portuguese"),
    ],
)  # fmt: skip
def test_a_language_is_known_by_its_own_name(own, name):
    assert canonical_language(own) == name
