"""Who is told of what, in which words, how often and how signed."""

import base64
import itertools
import json
import time

import pytest
import standardwebhooks

from runner.config.hook_settings import HookSettings
from runner.config.settings import default_file, load_settings
from runner.errors import SettingsInvalid
from runner.hooks.rules import body_of, filled, keys_of, notice, pause_s, secret_bytes, signature_headers

RECEIPT = {"job": 'the "night" train', "status": "done", "error": None, "lines": [{"file": "1.wav"}], "ok": True}


def hook(**more):
    return HookSettings(**{"on": ["job.done"], "url": "https://ntfy.sh/topic", **more})


def test_pauses_begin_with_seconds_double_and_stay_at_an_hour():
    pauses = [pause_s(attempts) for attempts in range(1, 30)]
    assert pauses[0] <= 5
    assert all(later == min(2 * pause, 3_600) for pause, later in itertools.pairwise(pauses))
    assert pauses[-1] == 3_600


def test_a_notice_says_when_and_carries_the_receipt():
    content = notice("job.done", 0.5, json.dumps(RECEIPT).encode())
    assert content == {"type": "job.done", "timestamp": "1970-01-01T00:00:00.500+00:00", "data": RECEIPT}
    body, media_type = body_of(hook(), content)
    assert (json.loads(body), media_type) == (content, "application/json")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{data.job}}: {{ data.status }}", 'the "night" train: done'),
        ('{"text": {{data.job | json}}}', '{"text": "the \\"night\\" train"}'),
        ("{{data.lines.0.file}} {{data.lines.7.file}}{{data.error.message}}.", "1.wav ."),
        ("{{data.error|json}} {{data.ok}} {{data.lines}}", 'null true [{"file": "1.wav"}]'),
        ("{{type}} {not} {{{data.job}}}", 'job.done {not} {the "night" train}'),
    ],
)
def test_a_template_is_filled_in(template, text):
    assert filled(template, {"type": "job.done", "data": RECEIPT}) == text


def test_what_a_template_filled_in_is_not_filled_in_again():
    assert filled("{{data.job}}", {"data": {"job": "{{data.secret}}", "secret": "x"}}) == "{{data.secret}}"


def test_the_signature_is_that_of_standard_webhooks():
    secret = "whsec_" + base64.b64encode(b"a secret of some length!").decode()
    body = json.dumps({"type": "job.done"}).encode()
    headers = signature_headers(secret_bytes(secret + "\n"), webhook_id="msg_1", now_s=time.time(), body=body)
    assert standardwebhooks.Webhook(secret).verify(body, headers) == {"type": "job.done"}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(body + b" ", headers)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_???", "c2VjcmV0", "whsec_é"])
def test_what_is_no_secret_is_refused(text):
    with pytest.raises(ValueError, match="whsec_"):
        secret_bytes(text)


def test_a_hook_keeps_its_key_when_its_words_change_and_two_of_one_receiver_have_two():
    (first,) = keys_of([hook()])
    assert keys_of([hook(template="x", on=["job.failed"], headers={"Title": "x"})]) == [first]
    other = HookSettings(on=["job.done"], command=["true"])
    assert keys_of([hook(), other, hook()]) == [first, keys_of([other])[0], f"{first}-2"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('on = ["job.done"]', "either url or command"),
        ('on = ["job.done"]\nurl = "https://a.b"\ncommand = ["true"]', "either url or command"),
        ('on = ["job.dun"]\nurl = "https://a.b"', "job.done"),
        ('on = []\nurl = "https://a.b"', "hooks[0].on"),
        ('on = ["job.done"]\nurl = "file:///etc/passwd"', "a URL such as"),
        ('on = ["job.done"]\nurl = "https://a.b/x y"', "a URL such as"),
        ('on = ["job.done"]\nurl = "https://a:b@c.d"', "belong in headers"),
        ('on = ["job.done"]\nurl = "https://a.b:99999"', "a URL such as"),
        ('on = ["job.done"]\nurl = "https://a.b"\ntemplate = "{{job}}"', "begins with type, timestamp or data"),
        ('on = ["job.done"]\nurl = "https://a.b"\nheaders = {Host = "x"}', "'Host' cannot be set"),
        ('on = ["job.done"]\nurl = "https://a.b"\nheaders = {X = "a\\nb"}', "no header may have"),
        ('on = ["job.done"]\ncommand = ["say"]\ntemplate = "x"', "belong to a url"),
        ('on = ["job.done"]\ncommand = [""]', "the name of a program"),
        ('on = ["job.done"]\nurl = "https://a.b"\nsecret = "x"', "did you mean 'secret_file'?"),
    ],
)
def test_a_wrong_table_is_named_with_its_place(tmp_path, table, said):
    path = tmp_path / "voicejobs.toml"
    path.write_text(f"[[hooks]]\n{table}\n", encoding="utf-8")
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(path)
    assert said in str(caught.value) and "line " in str(caught.value)


def test_hooks_are_set_in_the_file_alone(tmp_path):
    path = tmp_path / "voicejobs.toml"
    path.write_text("")
    for given in ({"environment": {"VOICEJOBS_HOOKS": "x"}}, {"flags": {"hooks": "x"}}):
        with pytest.raises(SettingsInvalid):
            load_settings(path, **given)


def test_the_example_of_the_settings_file_is_a_hook(tmp_path):
    path = tmp_path / "voicejobs.toml"
    example = default_file().partition("[[hooks]]")[2]
    path.write_text("[[hooks]]" + example.replace("\n#   ", "\n"), encoding="utf-8")
    (found,) = load_settings(path).hooks
    assert found.url.startswith("https://ntfy.sh/")


def test_a_receiver_is_shown_without_what_may_be_secret():
    assert hook(url="https://home.lan:8123/api/webhook/secret?x=1").receiver == "https://home.lan:8123"
