"""The spoken form of a text: composed, without what cannot be seen or said; a clean text is its own."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.spoken_form import has_word, speaks, spoken_form

CLEAN = [
    "I won't let you down, whatever happens tomorrow.",
    "He said “well…” — and left. ‘Why?’ she asked.",
    "Wait... what?! He left. . . . She stayed.... No!!!",
    "«Bonjour», dit-il – à l’aube. ¿Qué? ¡Ven!",
    "「はい」、そうです。……だめ！",
    "他说：“你好——”，然后走了……",
    "C++ and C#, 10% of $5 @ 20 °C; a = b + c; x² ½ § 5 © № 7",
    "Die Mädchen hören Müller. Ångström, naïve, übergroß.",
    "می‌خواهم",
    "हिन्दी में। ภาษาไทย",
    "Two lines\nof one text.\n\nAnother.  Two spaces.",
    "1,000,000 - 2–3 -- two --- three —— four https://example.com/a/b?c=d#e",
    "• first\n• second",
    "snake_case and AT&T, rock 'n' roll",
    "col·lecció, l'aube, п’ять",
    " surrounded by spaces ",
]


@pytest.mark.parametrize("text", CLEAN)
def test_a_clean_text_is_its_own_spoken_form(text):
    assert spoken_form(text) is text


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("a\u0301 Scho\u0308ne", "á Schöne"),
        ("in\u200bcom\u00adpre\u2060hen\ufeffsi\u200dble\u200c", "incomprehensible"),
        ("\u202bHello\u202c \u200fworld\u200e", "Hello world"),
        ("the \ufb01rst o\ufb03ce, \ufb02at", "the first office, flat"),
        ("Ｈｅｌｌｏ　ｗｏｒｌｄ", "Hello world"),
        ("１，０００円は５０％", "1,000円は50%"),
        ("ﾊﾟｿｺﾝ", "パソコン"),
        ("𝐋𝐨𝐨𝐤 𝔞𝔱 𝓽𝓱𝓲𝓼 𝟙", "Look at this 1"),
        ("Ⓗⓔⓛⓛⓞ 🅷🅸", "Hello HI"),
        ("ʜᴇʟʟᴏ", "hello"),
        ("①First, ❷second", "1 First, 2 second"),
        ("Henry Ⅷ", "Henry VIII"),
        ("5 ㎞ of ㎏", "5 km of kg"),
        ("One\u00a0hundred\u202fpeople", "One hundred people"),
        ("well\u2011known", "well-known"),
        ("rock ʼnʼ roll, don´t, it`s", "rock 'n' roll, don't, it's"),
        ("s\u0336t\u0336r\u0336i\u0336k\u0336e", "strike"),
        ("Z\u0300\u0301\u0302\u0303\u0304algo", "Z\u0300\u0301algo"),
        ("said \u0093no\u0094 \u0097 it", "said “no” — it"),
        ("مـــرحبا", "مرحبا"),
        ("caf\ufffd \ue123x", "caf x"),
        ("one\u2028two\u0085three", "one\ntwo\nthree"),
    ],
)
def test_what_cannot_be_seen_or_said_is_put_plainly(text, spoken):
    assert spoken_form(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("The nega-\ntive result.", "The negative result."),
        ("The nega-\r\n  tive result.", "The negative result."),
        ("A self-\nmade man of forty-\ntwo.", "A self-made man of forty-two."),
        ("Jean-\nPaul, 1914-\n1918", "Jean-Paul, 1914-1918"),
        ("A well-known, well-\nknown fact: e-mail, e-\nmail.", "A well-known, well-known fact: e-mail, e-mail."),
        ("The incom\u00ad\n  pre\u00adhensible", "The incomprehensible"),
    ],
)
def test_a_word_cut_at_a_lines_end_is_whole_again_with_its_own_hyphen(text, spoken):
    assert spoken_form(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (f"Chapter one {'.' * 40} 5", "Chapter one … 5"),
        (f"Introduction {'. ' * 20}12", "Introduction … 12"),
        (f"Chapter 1{'.' * 20}5", "Chapter 1… 5"),
        ("Look ---> here, not <== there --> now", "Look here, not there now"),
        ("Nooooo!!!!!!!!!!", "Nooooo!!!"),
        ("What?!?!?!?!", "What?!?"),
        ("Wait……………… what", "Wait… what"),
        ("═════ Part two", "Part two"),
        ("Total ======== 40", "Total 40"),
        ("Signed: ________", "Signed:"),
        ("----- Part -----", "Part"),
        ("one ------ two", "one — two"),
        ("-=-=-=-=- Part -=-=-=-", "Part"),
        ("He left. *** She stayed.", "He left. She stayed."),
        ("He left.\n\n* * *\n\nShe stayed.", "He left.\n\nShe stayed."),
        ("He left.\n***\nShe stayed.", "He left.\n\nShe stayed."),
        ("😂😂😂😂😂 so funny", "so funny"),
        ("Nice 😂! so😂funny 👨‍👩‍👧", "Nice! so funny"),
        ("1️⃣ One", "1 One"),
        ("★★★☆☆ good", "good"),
        ("$$$$$$ a,,,,,, ((((b))))", "a, (b)"),
        ("He died. ⁂ † She lived.", "He died. She lived."),
    ],
)
def test_runs_of_marks_and_pictures_are_not_spoken(text, spoken):
    assert spoken_form(text) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "* * *",
        "***",
        "⁂",
        "——",
        "...",
        "?!",
        "—",
        "\u200b",
        "\u00ad",
        "🎉",
        '""',
        "",
        " ",
        "♪♫",
        "✂ - - -",
        "•",
        "_____",
        "┅┅┅",
        "🇩🇪",
        "ー",
        "\u3164",
        "(…)",
        "§",
        "％",
    ],
)
def test_marks_alone_are_no_word(text):
    assert not speaks(text)


@pytest.mark.parametrize("text", ["a", "7", "½", "①", "Ⅷ", "好", "あ", "é", "1️⃣", "‮x", "🅰", "ก", "𝐀", "--- I ---"])
def test_one_letter_or_digit_is_a_word_in_any_script(text):
    assert speaks(text)


def test_what_somebody_has_said_how_to_speak_is_kept():
    assert spoken_form("a 😂 b ★", kept={"😂"}) == "a 😂 b"


@given(st.text(max_size=60))
def test_the_spoken_form_of_a_spoken_form_is_itself(text):
    spoken = spoken_form(text)
    assert spoken_form(spoken) == spoken


@pytest.mark.parametrize(
    "unit",
    ["a", "<", "<-", "~ ", ".", ". ", "!", "=", "-=", "—", "😂", "a-\n", "\u0301", "(", "\n", " ", "\u200b", "，１"],
)
def test_no_text_takes_longer_than_its_length(unit):
    text = unit * (200_000 // len(unit))
    started_s = time.process_time()
    has_word(spoken_form(text))
    assert time.process_time() - started_s < 5
