"""Words with pauses between them become one text, and places in it."""

from models.text.markup import words_and_pauses
from models.text.spoken_form import spoken_form
from models.text.timed_text import parts_of, shown, timed_text


def timed(text, how=spoken_form):
    return timed_text(words_and_pauses(text), how)


def test_pauses_are_kept_by_their_places_in_the_spoken_text():
    found = timed("[pause 1s] One [pause 2s] two. [pause 3s]")
    assert (found.spoken, found.pauses, found.end_s) == ("One two.", ((0, 1.0), (4, 2.0)), 3.0)
    assert parts_of(found.spoken, found.pauses) == [(1.0, "One"), (2.0, "two.")]
    assert shown(found.spoken, found.pauses) == "[pause 1s] One [pause 2s] two."


def test_a_piece_without_a_word_joins_the_pauses_around_it():
    found = timed("One [pause 1s] … [pause 2s] two [pause 1s] * * *")
    assert (found.spoken, found.pauses, found.end_s) == ("One two", ((4, 3.0),), 1.0)
    assert timed("… [pause 2s] …").spoken == ""


def test_places_follow_from_the_text_as_it_is_respelled():
    found = timed("BBC [pause 1s] two", lambda text: text.replace("BBC", "bee bee see"))
    assert parts_of(found.spoken, found.pauses) == [(0.0, "bee bee see"), (1.0, "two")]


def test_a_text_without_pauses_is_left_as_it_is():
    assert timed(" Two  lines.\nHere. ").spoken == " Two  lines.\nHere. "
    assert shown(" a ", ()) == " a "
