"""The page in a real browser: design, audition, lock, speak; two widths, both themes, keyboard, accessibility.

`make test-browser` runs it, with the Chromium of the system.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.patience import wait_until
from tests.runner.serve.served import Served, synthesize

playwright = pytest.importorskip("playwright.sync_api", reason="pip install '.[browser]' brings Playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install '.[browser]' brings axe")

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_A_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream",
         "--use-fake-device-for-media-stream"]  # fmt: skip
PATHS = ("/", "/jobs/scene", "/jobs/lost", "/jobs/nobody", "/audition", "/audition/marcus-design",
         "/audition/marcus-design?blind=a", "/voices", "/voices/marcus", "/drop")  # fmt: skip
LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def chromium():
    path = next(filter(None, map(shutil.which, BROWSERS)), ON_A_MAC)
    if not Path(path).exists():
        pytest.skip("no Chromium here: apt-get install chromium, or brew install --cask google-chrome")
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("browsed"), serve="")
    made.start_runner()
    made.start()
    scene = {
        "kind": "synthesize",
        "voice": "ryan",
        "pause_after_s": 0.3,
        "lines": [
            {"text": "The night train leaves at eleven."},
            {"text": "I will be on it.", "instruct": "whispering"},
        ],
    }
    made.post_job(scene, name="scene")
    made.ended("scene")
    made.post_job(synthesize("Hello.", voice="nobody"), name="lost")
    made.post_job({"kind": "design", "voice": "marcus", "description": "A deep male voice, 50s."}, name="marcus-design")
    made.ended("marcus-design")
    made.post_job(
        {"kind": "lock", "voice": "marcus", "from": {"job": "marcus-design", "candidate": 1}}, name="marcus-lock"
    )
    made.ended("marcus-lock")
    yield made
    made.stop()


@contextlib.contextmanager
def tab(chromium, site, *, width=1280, theme="light", script=True):
    """A page of a browser of its own, which must have nothing to complain of."""
    context = chromium.new_context(
        viewport={"width": width, "height": 844},
        color_scheme=theme,
        base_url=f"http://127.0.0.1:{site.port}",
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert complaints == []


def holds(page, condition):
    """Wait for it; by the page's own functions its policy forbids."""
    wait_until(lambda: page.evaluate(condition), what=condition)


def plays(page, player):
    holds(page, f"document.querySelector('{player} audio').currentTime > 0.2")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_a_voice_is_designed_auditioned_locked_and_spoken_with(chromium, site, width, theme):
    voice = f"elena-{width}"
    with tab(chromium, site, width=width, theme=theme) as page:
        page.goto("/drop")
        form = page.locator("#design form")
        form.get_by_label("How it sounds").fill("A warm female voice, 30s, confident and clear.")
        form.get_by_label("Its name").fill(voice)
        form.get_by_role("button", name="Show the job file").click()
        assert 'kind = "design"' in page.get_by_label("The file, which you may change").input_value()
        page.get_by_role("button", name="Drop it").click()
        page.get_by_role("link", name="Audition the candidates").click()  # it appears without a reload

        page.locator('.player.ready[data-key="2"]').wait_for()  # a key before that goes to the page before
        page.keyboard.press("2")
        plays(page, '[data-key="2"]')
        assert page.get_by_role("radio", name="Candidate 2").is_checked()
        page.keyboard.press("1")
        plays(page, '[data-key="1"]')
        assert page.evaluate("document.querySelector('[data-key=\"2\"] audio').paused")
        page.keyboard.press("l")
        assert page.evaluate("document.activeElement.id") == "lock-name"
        page.keyboard.press("Enter")

        page.locator("#job-head .state.done").wait_for()
        page.get_by_role("link", name=f"{voice}@1").click()
        page.get_by_role("link", name="Speak with it").click()
        form = page.locator("#text form")
        assert form.get_by_label("Voice").input_value() == voice
        form.get_by_label("Text").fill("Good evening.\n\nThe lamp is lit.")
        form.get_by_role("button", name="Show the job file").click()
        page.get_by_role("button", name="Drop it").click()
        page.locator("#job-head .state.done").wait_for()
        page.get_by_role("button", name=re.compile("Play The whole track")).click()
        plays(page, "#track")
        assert page.locator("#caption").inner_text() in ("Good evening.", "The lamp is lit.")
        assert page.locator(".line.heard").count() <= 1
        page.get_by_role("slider", name=re.compile("Place in Line 1")).focus()
        page.keyboard.press("End")
        assert page.locator("#line-1 .wave").get_attribute("aria-valuenow") != "0.0"


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_no_page_has_a_serious_fault_for_those_who_see_or_move_otherwise(chromium, site, width, theme):
    pictures = os.environ.get("TEST_PICTURES")  # a folder: look at them
    found = []
    for path in PATHS:
        with (
            contextlib.suppress(AssertionError) if path == "/jobs/nobody" else contextlib.nullcontext(),
            tab(chromium, site, width=width, theme=theme) as page,
        ):
            page.goto(path)
            page.wait_for_load_state("load")
            violations = axe.Axe().run(page).response["violations"]
            found += [
                f"{path}: {each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0].get('failureSummary', '')}"
                for each in violations
                if each["impact"] in ("serious", "critical")
            ]
            overhang = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            found += [f"{path}: {overhang} px wider than the window"] if overhang > 0 else []
            if pictures:
                page.wait_for_timeout(500)
                page.screenshot(
                    path=Path(
                        pictures,
                        f"{path.strip('/').replace('/', '-').partition('?')[0] or 'queue'}-{width}-{theme}.png",
                    ),
                    full_page=True,
                )
    assert found == []


def test_the_queue_follows_what_happens_without_a_reload(chromium, site):
    with tab(chromium, site) as page:
        page.goto("/")
        page.evaluate("window.isTheSame = true")
        site.post_job(synthesize("It appears by itself."), name="appears")
        page.get_by_role("link", name="appears").wait_for()
        assert page.evaluate("window.isTheSame")


def test_all_is_read_and_heard_without_script(chromium, site):
    with tab(chromium, site, script=False) as page:
        page.goto("/")
        page.get_by_role("link", name="scene", exact=True).click()
        assert (
            page.locator("audio[controls]").count() == 3
            and page.locator("#line-2 .said").inner_text() == "I will be on it."
        )
        page.get_by_role("link", name="Voices").click()
        page.get_by_role("link", name="marcus", exact=True).click()
        assert page.locator("audio[controls]").count() == 1


def test_a_voice_is_recorded_with_the_microphone(chromium, site):
    with tab(chromium, site) as page:
        page.goto("/drop#recording")
        page.get_by_role("button", name="Record", exact=True).click()
        holds(page, "document.getElementById('recorded-s').textContent >= '0:02'")
        page.get_by_role("button", name="Stop").click()
        holds(page, "document.getElementById('recording-file').files.length == 1")
        assert page.evaluate("document.getElementById('recording-file').files[0].size") > 2 * 2 * 16_000
        form = page.locator("#recorder")
        form.get_by_label("Name of the voice").fill("me")
        form.get_by_label("Whose voice is it?").select_option("self")
        form.get_by_role("button", name="Show the job file").click()
        job = page.get_by_label("The file, which you may change").input_value()
        assert (
            'audio = "recording.wav"' in job
            and 'consent = "self"' in job
            and "With it: recording.wav" in page.content()
        )


def test_a_changed_line_and_an_undone_choice_need_only_the_keyboard(chromium, site):
    with tab(chromium, site) as page:
        page.goto("/jobs/scene")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        change = page.locator("#line-2 summary")
        change.focus()
        page.keyboard.press("Enter")
        page.locator("#line-2 textarea").fill("I will not be on it.")
        page.locator("#line-2 textarea").press("Tab")
        page.keyboard.press("Enter")
        page.locator("#job-head .state.done").wait_for()
        assert page.locator("#line-2 .said").inner_text() == "I will not be on it."
        assert page.locator("#line-1").get_by_text("reused").count() == 1
