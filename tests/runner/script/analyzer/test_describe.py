"""Questions to a server about parts: every way in which it may answer, and what comes of it."""

import json

import pytest

from runner.script.analyzer.answer import AnswerRefused, profile_in
from runner.script.analyzer.chat import Chat
from runner.script.analyzer.describe import describe
from runner.script.analyzer.prompt import evidence_digest, question
from runner.script.cast.parts import Evidence, Part
from tests.runner.script.analyzer.stub_server import PROFILE, StubServer, chat, good


def ask(url, *, timeout_s=20, count=1, model="tiny"):
    questions = {f"digest-{number}": f"Who is {number}?" for number in range(count)}
    return describe(Chat(url=url, model=model, timeout_s=timeout_s), {"questions": questions})


def test_a_good_answer_is_a_profile_and_the_question_asks_for_its_schema():
    with StubServer(good()) as server:
        found = ask(server.url)
    profile = found["profiles"]["digest-0"]
    assert found["failure"] == "" and profile["analyzer"] == "openai"
    assert (profile["gender"], profile["age_range"]) == ("female", "30-40")
    assert profile["voice_traits"] == ("warm", "low", "unhurried")
    path, asked = server.requests[0]
    assert path == "/v1/chat/completions" and asked["model"] == "tiny"
    assert asked["response_format"]["type"] == "json_schema" and asked["response_format"]["json_schema"]["strict"]


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_server_that_knows_no_schema_is_asked_for_json_then_for_text(refusals):
    no = (400, {}, b'{"error": "response_format is not supported"}')
    with StubServer(*[no] * refusals, good()) as server:
        found = ask(server.url, count=2)
    assert len(found["profiles"]) == 2
    formats = [asked.get("response_format", {}).get("type") for _, asked in server.requests]
    tried = ["json_schema", "json_object", None][: refusals + 1]
    assert formats == [*tried, tried[-1]]  # the second question begins with what worked


def test_an_answer_among_thoughts_and_fences_is_found():
    text = f"<think>It is {{her}}.</think>Of course:\n```json\n{json.dumps(PROFILE)}\n```\nAnything else?"
    assert profile_in(text, analyzer="openai").summary == "A woman on a night train"


@pytest.mark.parametrize(
    "text, says",
    [
        ("I cannot say.", "no JSON object"),
        ('{"gender": "female"', "no JSON object"),
        ('{"gender": female}', "cannot be read"),
        ("[]{}", "gender"),
        (json.dumps({**PROFILE, "gender": "robot"}), "gender"),
        (json.dumps({**PROFILE, "voiceTraits": [1, 2]}), "voiceTraits"),
        (json.dumps({**PROFILE, "summary": " \x00 "}), "summary"),
        ("{" * 100_000 + "}", "cannot be read"),
    ],
)
def test_what_is_no_profile_is_refused_with_a_reason(text, says):
    with pytest.raises(AnswerRefused, match=says):
        profile_in(text, analyzer="openai")


def test_other_words_for_gender_long_texts_and_control_characters_are_put_right():
    told = {**PROFILE, "gender": "Non-Binary", "voiceTraits": "soft, low,\x07 dry", "summary": "x" * 5_000}
    profile = profile_in(json.dumps(told), analyzer="openai")
    assert profile.gender == "nonBinary" and profile.voice_traits == ("soft", "low", "dry")
    assert len(profile.summary) <= 600


def test_an_answer_that_cannot_be_used_is_asked_for_once_more_with_the_reason():
    with StubServer((200, {}, chat("Certainly!")), good()) as server:
        found = ask(server.url)
    assert len(found["profiles"]) == 1
    messages = server.requests[1][1]["messages"]
    assert messages[-2]["content"] == "Certainly!" and "no JSON object" in messages[-1]["content"]


def test_a_model_that_never_answers_well_is_left_and_the_others_are_asked():
    with StubServer((200, {}, chat("no")), (200, {}, chat("no")), good()) as server:
        found = ask(server.url, count=2)
    assert list(found["profiles"]) == ["digest-1"] and "no JSON object" in found["failure"]


def test_a_busy_server_is_asked_again_after_the_time_that_it_names():
    with StubServer((429, {"Retry-After": "0"}, b""), (503, {"Retry-After": "0.1"}, b""), good()) as server:
        assert len(ask(server.url)["profiles"]) == 1


def failure_of(make_reply, *, timeout_s=20):
    with StubServer(good()) as server:
        server.replies[:] = [make_reply(server)]
        return ask(server.url, timeout_s=timeout_s), server


@pytest.mark.parametrize(
    "reply, says",
    [
        (lambda _: (429, {"Retry-After": "3600"}, b""), "429"),
        (lambda _: (500, {}, b"out of memory"), "out of memory"),
        (lambda _: (401, {}, b"who are you?"), "401"),
        (lambda _: (302, {"Location": "http://127.0.0.1:1/"}, b""), "not followed"),
        (lambda _: (200, {}, b"<html>hello</html>"), "not one of OpenAI's API"),
        (lambda _: (200, {}, b'{"choices": []}'), "not one of OpenAI's API"),
        (lambda _: (200, {}, b'{"choices": [{"message": {"content": null}}]}'), "no text"),
        (lambda server: server.half, "broke off"),
        (lambda server: server.endless, "4 MiB"),
    ],
    ids=["later", "500", "401", "redirect", "html", "other schema", "null", "half", "endless"],
)
def test_a_server_that_gives_no_answer_is_a_failure_with_its_reason(reply, says):
    found, _ = failure_of(reply)
    assert found["profiles"] == {} and says in found["failure"]


@pytest.mark.parametrize("kind", ["dripping", "silent"])
def test_the_time_limit_is_for_the_whole_answer(kind):
    found, server = failure_of(lambda server: getattr(server, kind), timeout_s=0.3)
    assert "0.3 s" in found["failure"] and len(server.requests) == 1


def test_where_nothing_listens_one_question_is_enough():
    with StubServer(good()) as server:
        url = server.url
    found = ask(url, count=3)
    assert found["profiles"] == {} and "nothing listens" in found["failure"]


def test_equal_evidence_has_an_equal_digest_and_everything_else_another():
    part = Part(name="ELENA", slug="elena", lines=2, evidence=Evidence(speeches=("Hello.", "Goodbye.")))
    other = Part(name="ELENA", slug="elena", lines=2, evidence=Evidence(speeches=("Hello.", "Good night.")))
    assert evidence_digest(part, model="a") == evidence_digest(part, model="a")
    assert (
        len({evidence_digest(part, model="a"), evidence_digest(other, model="a"), evidence_digest(part, model="b")})
        == 3
    )
    assert "1. Hello." in question(part) and "and" not in question(part).split("\n")[3]
