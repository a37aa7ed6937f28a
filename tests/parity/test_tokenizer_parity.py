"""Token ids are the official processor's, for any text and in every template."""

from __future__ import annotations

import pytest

from tests.models.qwen3_tts.speaking import model, requests_of
from tests.reference import golden, info

TEMPLATES = {
    "ids": "{}",
    "assistant": "<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>assistant\n",
    "ref": "<|im_start|>assistant\n{}<|im_end|>\n",
    "instruct": "<|im_start|>user\n{}<|im_end|>\n",
}
RECORDED = info("custom_voice", "tokenizer")["results"]


@pytest.mark.parametrize("recorded", RECORDED, ids=[f"text{number}" for number in range(len(RECORDED))])
def test_ids_are_the_official_ones(recorded):
    for name, template in TEMPLATES.items():
        assert model("custom_voice").tokenize(template.format(recorded["text"])) == recorded[name]


def test_an_instruct_comes_first_in_the_prompt():
    plan = model("custom_voice").prepare(requests_of("custom_voice", "cv_instruct")[0]).plan
    recorded = golden("custom_voice", "cv_instruct")["instruct_ids.0"][0]
    assert plan.text_ids[: len(recorded)].tolist() == recorded.tolist()
