"""Profiles of parts by the words of a script: gender, age, sound, and the sentence that sums a part up."""

import pytest

from runner.script.cast.parts import Evidence, Part
from runner.script.cast.profile import rules_profile


def part(name, *mentions, directions=()):
    return Part(name=name, slug=name.casefold(), lines=3, evidence=Evidence(mentions=mentions, directions=directions))


@pytest.mark.parametrize(
    ("name", "mention", "gender", "age"),
    [
        ("INES", "Rain on the windows. INES, a detective in her forties, sits alone.", "female", "40-50"),
        ("KIM", "KIM, in his mid-30s, waits.", "male", "30-40"),
        ("KIM", "KIM waits for him in her car.", "unknown", None),
        ("MRS WHITE", "MRS WHITE, in his way, says no.", "female", None),
        ("OSCAR", "OSCAR, an old man with a wet hat, sits down.", "male", "60-70"),
        ("ELENA", "ELENA looks at the door.", "female", None),
    ],
)
def test_gender_and_age_are_those_of_the_words(name, mention, gender, age):
    found = rules_profile(part(name, mention), language="en")
    assert found.gender == gender and age in (None, found.age_range)


def test_the_summary_is_the_first_short_sentence_that_names_the_part():
    told = ("INES " + "and so on " * 30 + ".", "Rain on the windows. INES, a detective, sits alone.")
    assert rules_profile(part("INES", *told), language="en").summary == "INES, a detective, sits alone"
    assert rules_profile(part("INES"), language="en").summary == "INES, who has 3 lines"


def test_directions_say_how_a_voice_sounds_before_what_is_told_of_it():
    found = rules_profile(part("KIM", "KIM laughs.", directions=("growling", "whispering")), language="en")
    assert [trait for trait in found.voice_traits if trait in ("gravelly", "soft")]
    assert found == rules_profile(part("KIM", "KIM laughs.", directions=("growling", "whispering")), language="en")
