"""The pages for a person: over HTTP, and in a browser that runs them."""

import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running_server import Server, started
from server_example import KINDS, SCHEMA, example, write_example

from eventmodel.bundle import Bundle
from server.page import DOCS, FILES

CHROMIUM = shutil.which("chromium")
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, as Debian has it")

HOSTILE = "<img src=x onerror=alert(1)>"
"""What would run if it were taken for markup."""


def hostile_request() -> dict[str, Any]:
    names = {"ann": HOSTILE}
    body = example()
    for entities in body["streams"].values():
        for entity in entities:
            entity["events"] = [{k: names.get(v, v) for k, v in event.items()} for event in entity["events"]]
            entity |= {"id": names.get(entity["id"], entity["id"])} if "id" in entity else {}
    return body | {"focus": HOSTILE, "top_k": "all", "horizon": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    n = 13  # categories
    schema = SCHEMA | {
        "description": f"Shifts. {HOSTILE}",
        "fields": [{"name": "Kind", "kind": "enum", "values": [*KINDS, HOSTILE]}, *SCHEMA["fields"][1:]],
    }
    measured = {"n": 500, "top1": [0.5] * n, "nll": [1.25] * n}
    bundle = write_example(
        tmp_path_factory.mktemp("bundle"), schema, example=hostile_request(), metrics={"test": measured}
    )
    with started(bundle.path, tmp_path_factory.mktemp("log") / "server.log") as running:
        yield running


def source(path: str) -> str:
    return files(FILES[path].package).joinpath("static", FILES[path].name).read_text("utf-8")


OURS = [path for path, file in FILES.items() if file.package == "server"]


# --- over HTTP -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES)
def test_every_file_of_the_page_is_served_as_what_it_is(server: Server, path: str) -> None:
    answer = server.client.get(path)
    assert (answer.status_code, answer.text) == (200, source(path))
    assert answer.headers["content-type"] == f"{FILES[path].media_type}; charset=utf-8"


@pytest.mark.parametrize("path", ["/", DOCS])
def test_a_page_runs_nothing_but_its_own_scripts_and_asks_nobody_but_its_own_server(server: Server, path: str) -> None:
    policy = server.client.get(path).headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == directives["form-action"] == "'none'"
    assert "unsafe" not in policy


def test_no_page_holds_an_address_but_its_own_server_s(server: Server) -> None:
    for path in OURS:
        addresses = re.findall(r"https?://[^'\"\s)]+", source(path))
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # a name, not a place
    links = re.findall(r'(?:src|href)="([^":]+)"', source("/") + source(DOCS))
    assert {server.client.get(f"/{link}").status_code for link in links} == {200}


def test_pages_have_no_inline_code_and_never_write_markup() -> None:
    for path in OURS:
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", source(path))
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", source(path)
        )


def test_the_framework_s_pages_that_load_scripts_from_elsewhere_are_gone(server: Server) -> None:
    assert server.client.get("/redoc").status_code == 404
    assert server.client.get("/docs/oauth2-redirect").status_code == 404


def test_the_greeting_names_the_page(server: Server) -> None:
    assert f"http://localhost:{server.port}/\n" in server.log.read_text()


def test_the_page_needs_no_key_and_shows_nothing_of_the_model(
    server: Server, example_bundle: Bundle, tmp_path: Path
) -> None:
    with started(example_bundle.path, tmp_path / "server.log", EVENTMODEL_API_KEY="s3cret") as locked:
        for path in FILES:
            assert locked.client.get(path).text == source(path)
        assert locked.client.get("/info").status_code == 401


# --- in a browser --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


def opened(browser: Browser, server: Server, path: str = "/", **context: Any) -> tuple[Page, list[str]]:
    """The page, and what there is to complain of: errors, dialogs, and requests to another server."""
    page = browser.new_page(**context)
    complaints: list[str] = []
    own = (f"http://127.0.0.1:{server.port}/", "data:")
    page.on("request", lambda request: None if request.url.startswith(own) else complaints.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.goto(f"http://127.0.0.1:{server.port}{path}")
    return page, complaints


@pytest.mark.slow
@in_chromium
def test_a_person_sees_the_card_the_example_the_events_and_a_bar_per_value(browser: Browser, server: Server) -> None:
    page, complaints = opened(browser, server)
    events = page.locator("#answer .events li")
    expect(events).to_have_count(2)  # the example's horizon, asked without a click
    expect(page.locator("#facts")).to_contain_text("50.0%")
    expect(page.locator("#past tbody tr")).to_have_count(3)
    first = page.locator("#answer > .cards article")
    expect(first).to_have_count(13)
    for card in first.all():
        shares = [float(text.removeprefix("< ").removesuffix("%")) for text in card.locator(".share").all_inner_texts()]
        widths = [float(bar.evaluate("bar => bar.style.width").removesuffix("%")) for bar in card.locator(".bar").all()]
        assert sum(shares) == pytest.approx(100, abs=1)
        assert widths == pytest.approx(shares, abs=0.1)
    page.close()
    assert complaints == []


@pytest.mark.slow
@in_chromium
def test_names_that_look_like_markup_are_shown_and_never_run(browser: Browser, server: Server) -> None:
    page, complaints = opened(browser, server)
    expect(page.locator("#answer h2").first).to_have_text(f"What happens next to {HOSTILE}")
    for place in ("#description", "#past", "#answer .cards", "select[name=focus]"):
        expect(page.locator(place).first).to_contain_text(HOSTILE)
    page.fill("[name=now]", HOSTILE)
    page.click("#predict")
    expect(page.locator("#error")).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0
    page.close()
    assert [complaint for complaint in complaints if "422" not in complaint] == []


@pytest.mark.slow
@in_chromium
def test_a_question_is_changed_by_hand(browser: Browser, server: Server) -> None:
    page, complaints = opened(browser, server)
    expect(page.locator("#answer .events li")).to_have_count(2)
    page.fill("[name=horizon]", "3")
    page.select_option("[name=focus]", "bob")
    page.check("[name=quantiles]")
    page.click("summary:has-text('How unusual')")
    page.click("#observe")
    page.fill("[name='observed.Site']", "s4")
    page.click("#predict")
    expect(page.locator("#answer .events li")).to_have_count(3)
    expect(page.locator("#answer h2").first).to_have_text("What happens next to bob")
    expect(page.locator("#answer .events li").first).to_contain_text("80% between")
    expect(page.locator("#answer")).to_contain_text("The whole event:")
    page.fill("[name='sampling.num_samples']", "5")
    page.click("#predict")
    expect(page.locator("#answer details > ol")).to_have_count(5)
    expect(page.locator("#answer > ol li").first).to_contain_text("Event 1: even chance by")
    page.click("button[type=reset]")
    expect(page.locator("[name=horizon]")).to_have_value("2")
    page.close()
    assert complaints == []


@pytest.mark.slow
@in_chromium
def test_an_error_is_shown_with_its_place_and_its_hint(browser: Browser, server: Server) -> None:
    page, _ = opened(browser, server)
    expect(page.locator("#answer .cards").first).to_be_visible()
    histories = page.locator("[name=streams]")
    page.click("summary:has-text('Change the past')")
    histories.fill(
        histories.input_value().replace('"EventDatetime":"2026-01-29T08:00:00"', '"EventDatetime":"8 am"', 1)
    )
    page.click("#predict")
    error = page.locator("#error")
    expect(error).to_contain_text("422 bad_datetime at streams.Worker[0].events[0].EventDatetime")
    expect(error).to_contain_text("Send local wall time in ISO 8601, like 2026-01-29T08:00:00.")
    expect(histories).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#answer")).to_be_empty()
    histories.fill("{")
    page.click("#predict")
    expect(error).to_contain_text("the histories are not JSON")
    page.close()


@pytest.mark.slow
@in_chromium
def test_a_key_is_asked_for_where_one_is_set(browser: Browser, example_bundle: Bundle, tmp_path: Path) -> None:
    with started(example_bundle.path, tmp_path / "server.log", EVENTMODEL_API_KEY="s3cret") as locked:
        page, _ = opened(browser, locked)
        page.fill("[name=key]", "wrong")
        page.click("#unlock button")
        expect(page.locator("#error")).to_contain_text("401 unauthorized at X-API-Key")
        expect(page.locator("#ask")).to_be_hidden()
        page.fill("[name=key]", "s3cret")
        page.click("#unlock button")
        expect(page.locator("#answer .events li")).to_have_count(2)
        expect(page.locator("#unlock")).to_be_hidden()
        page.close()


def try_it_out(page: Page) -> None:
    """Send the documented example of a prediction."""
    page.click(".opblock-post .opblock-summary-control")
    page.click(".opblock-post .execute")
    expect(page.locator(".live-responses-table td.response-col_status:not(.col_header)")).to_contain_text("200")


@pytest.mark.slow
@in_chromium
def test_the_docs_send_the_example_as_it_stands(browser: Browser, server: Server) -> None:
    page, complaints = opened(browser, server, DOCS)
    try_it_out(page)
    page.close()
    assert complaints == []


@pytest.mark.slow
@in_chromium
def test_the_docs_ask_for_a_key_where_one_is_set_and_send_it(
    browser: Browser, example_bundle: Bundle, tmp_path: Path
) -> None:
    with started(example_bundle.path, tmp_path / "server.log", EVENTMODEL_API_KEY="s3cret") as locked:
        page, _ = opened(browser, locked, DOCS)
        page.fill("[name=key]", "wrong")
        page.click("#unlock button")
        expect(page.locator("#error")).to_contain_text("401 unauthorized")
        page.fill("[name=key]", "s3cret")
        page.click("#unlock button")
        try_it_out(page)
        expect(page.locator("#unlock")).to_be_hidden()
        page.close()


@pytest.mark.slow
@in_chromium
def test_the_page_is_dark_in_the_dark_and_fits_a_phone(browser: Browser, server: Server) -> None:
    def brightness(page: Page) -> int:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return max(map(int, re.findall(r"\d+", color)))

    for scheme, is_right in (("light", lambda b: b > 200), ("dark", lambda b: b < 60)):
        page, _ = opened(browser, server, color_scheme=scheme, viewport={"width": 390, "height": 844})
        expect(page.locator("#answer .cards").first).to_be_visible()
        assert is_right(brightness(page))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.close()
