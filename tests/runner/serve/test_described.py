"""Real answers are as /openapi.json describes them, /metrics counts and names nothing, and the docs' examples work."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tests.runner.serve.served import synthesize

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (curl .*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def description(served):
    return served.get("/openapi.json").json


def assert_described(description, method, path, answer):
    responses = description["paths"][path][method]["responses"]
    assert str(answer.status) in responses, (path, answer)
    schema = responses[str(answer.status)]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json, {**schema, "components": description["components"]})


def test_answers_are_as_they_are_described(served, description):
    first = served.post_job(synthesize("Described.", id="described"))
    assert_described(description, "post", "/api/jobs", first)
    for body in (synthesize("Described.", id="described"), synthesize("Otherwise.", id="described"), "kind = 3"):
        assert_described(description, "post", "/api/jobs", served.post_job(body))
    assert_described(description, "get", "/api/jobs/{job}", served.get("/api/jobs/described"))
    served.ended("described")
    assert_described(description, "get", "/api/jobs/{job}", served.get("/api/jobs/described"))
    assert_described(description, "delete", "/api/jobs/{job}", served.request("DELETE", "/api/jobs/described"))
    assert_described(description, "post", "/api/jobs/{job}/retry", served.request("POST", "/api/jobs/described/retry"))
    for path in ("/health", "/api/jobs", "/v1/audio/voices", "/v1/models"):
        assert_described(description, "get", path, served.get(path))
    assert_described(description, "get", "/v1/models/{model}", served.get("/v1/models/tts-1"))
    assert_described(description, "get", "/v1/models/{model}", served.get("/v1/models/none"))
    wrong = served.request("POST", "/v1/audio/speech", b"{}", content_type="application/json")
    assert_described(description, "post", "/v1/audio/speech", wrong)


def test_metrics_count_and_name_nothing(served):
    served.post_job(synthesize("A secret text."), name="secret-name")
    served.ended("secret-name")
    text = served.get("/metrics").body.decode()
    assert re.search(r'^voicejobs_jobs\{state="done"\} [1-9]', text, re.MULTILINE)
    assert "voicejobs_runner_active 1.0" in text
    assert "secret" not in text and "ryan" not in text


def test_the_pages_examples_work_as_printed(served, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for command in COMMANDS:
        words = [word.replace("localhost:8880", f"localhost:{served.port}") for word in shlex.split(command)]
        if "/api/jobs/job" in command:
            served.ended("job")
        done = subprocess.run(
            [words[0], "--fail-with-body", "-sS", *words[1:]],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert (tmp_path / "hello.mp3").stat().st_size > 1_000
    assert (tmp_path / "hello.wav").read_bytes().startswith(b"RIFF")
