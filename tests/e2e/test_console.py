"""The console in a real Chromium: signed in, asked, its sources opened, the fleet and a device looked at.

What the platform does not say on demand (half an answer, a refusal) is said in its place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import text

from iotops.auth import issue_token
from iotops.database import engine, tenant_transaction
from iotops.lake import lake_filesystem
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.demo.run import TENANT
from pipelines.knowledge.shelf import index_shelf
from pipelines.knowledge.store import add_documents

HOSTILE = """# Valve <img src=x onerror="document.title='owned'">

The valve V-77 sticks when <script>document.title = 'owned'</script> dust gets between its plates every week.
"""
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
VALVE = "valve-77-" + "7" * 55
UNBROKEN = "x" * 600
RECORDS = [
    text(statement)
    for statement in (
        """INSERT INTO gold.device_health (tenant_id, device_id, day, model, score, readings, errors)
           VALUES (:tenant, :device, current_date, :markup, 3, 1, 1)""",
        """INSERT INTO gold.device_health_components (tenant_id, device_id, day, component, penalty, weight,
               detail) VALUES (:tenant, :device, current_date, 'anomaly', 97, 1, :markup)""",
        """INSERT INTO silver.events (tenant_id, device_id, ts, type, severity, error_code, message,
               kafka_partition, kafka_offset, arrival_day)
           VALUES (:tenant, :device, now(), :markup, 'error', :markup, :message, 0, 0, current_date)""",
    )
]
LATEST_FEEDBACK = text("SELECT thumbs_up, reason FROM platform.feedback ORDER BY given_at DESC LIMIT 1")
SHOWN = """() => {
  window.shown = new Set();
  const look = () => document.querySelectorAll(".trace li").forEach((step) => shown.add(step.textContent));
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""
"""Notes the steps that the page shows, which it takes away when they are done."""
DRAWN = """canvas => {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--accent").match(/\\w\\w/g);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const near = (at) => ink.every((part, place) => Math.abs(data[at + place] - parseInt(part, 16)) < 25);
  return Array.from({ length: data.length / 4 }, (_, pixel) => pixel * 4).filter(near).length;
}"""
"""How many pixels of a chart are its line's."""
IN_TURN = {
    **{"device_id": "in-turn", "model": "M", "day": None, "score": None},
    **{"components": [], "risk": [], "alerts": [], "actions": []},
    "events": [{"ts": "2026-01-01T20:00:00Z", "type": "jam", "severity": "error", "error_code": "E1"}],
    "trend": [
        {"ts": f"2026-01-01T{hour:02}:00:00Z", "metrics": {("load", "speed")[hour % 2]: hour}}
        for hour in range(24)
    ],
}
"""A device whose readings bring one metric each."""
OF_FLEET = {
    **{"marker": "[1]", "title": "Fleet health", "uri": "/insights", "section": "Worst devices"},
    **{"quote": "All is well.", "start": 0, "end": 12, "score": 1},
}
OF_BELT = {
    **{"marker": "[2]", "title": "Belts", "uri": "lake://t/documents/belts.md", "section": "Wear"},
    **{"quote": "Replace the belt.", "start": 103, "end": 120, "score": 1},
}
ANSWER = "All is well. [1] Replace the belt. [2]"
BEGUN = (("citation", OF_FLEET), ("citation", OF_BELT), ("token", {"text": ANSWER}))
DONE = (
    "done",
    {"answer": ANSWER, "citations": [OF_FLEET, OF_BELT], "grounded": True, "model": "none"},
)
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine: `.ci/browser` installs Debian's")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=QUIET)


@pytest.fixture(scope="module")
def hostile(settings: Settings, demo: str, tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    """A tenant whose only document and only device would run code if they could."""
    tenant, document = Tenant("markup"), tmp_path_factory.mktemp("markup") / "valve.md"
    create_tenant(settings, tenant)
    document.write_text(HOSTILE)
    add_documents(lake_filesystem(settings.lake), tenant.id, [document])
    index_shelf(settings, tenant.id)
    values = {"tenant": tenant.id, "device": VALVE, "markup": MARKUP, "message": MARKUP + UNBROKEN}
    with tenant_transaction(engine(settings.database), tenant) as connection:
        for statement in RECORDS:
            connection.execute(statement, values)
    return tenant


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, settings: Settings, demo: str) -> Iterator[Page]:
    """A page on a desk; at its end no script of it has failed and its policy was not broken."""
    context = browser.new_context(
        color_scheme=request.param, base_url=settings.serve.url, timezone_id="Asia/Tokyo"
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if "Security Policy" in message.text else None,
    )
    yield page
    context.close()
    assert problems == []


def signed_in(page: Page, settings: Settings, tenant: Tenant = TENANT) -> Page:
    page.goto("/")
    return sign_in(page, settings, tenant)


def sign_in(page: Page, settings: Settings, tenant: Tenant = TENANT) -> Page:
    page.get_by_label("Access token").fill(issue_token(settings.auth, tenant, "o", "operator"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Question")).to_be_visible()
    return page


def ask(page: Page, question: str) -> None:
    page.get_by_label("Question").fill(question)
    page.keyboard.press("Enter")


def answer(page: Page, path: str, *events: tuple[str, dict[str, Any]]) -> None:
    """Answer the page's calls of a path with these events."""
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    page.route(path, lambda route: route.fulfill(content_type="text/event-stream", body=body))


def accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def unharmed(page: Page) -> None:
    """No markup of a document's or a device's became part of the page."""
    assert page.title() == "IoT Ops Copilot"
    assert page.locator("main img, dialog img, main script, dialog script").count() == 0


def test_a_wrong_token_is_refused(page: Page):
    page.goto("/console/#/ask/100%25%")  # a link that was cut short opens the page too
    accessible(page)
    page.get_by_label("Access token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Question")).to_have_count(0)


def test_an_answer_opens_its_sources(page: Page, settings: Settings):
    signed_in(page, settings)
    accessible(page)
    page.get_by_label("Question").fill("What does E421 mean on an HX-200 and what should I do first?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sources")).to_be_visible(timeout=120_000)
    accessible(page)
    page.get_by_role("button", name="No", exact=True).click()
    page.get_by_label("What was wrong?").fill("too long")
    accessible(page)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".feedback").get_by_role("status")).to_have_text("Thank you.")
    with tenant_transaction(engine(settings.database), TENANT) as connection:
        assert connection.execute(LATEST_FEEDBACK).one() == (False, "too long")
    page.locator(".answer .marker").first.click()
    source = page.get_by_role("dialog")
    expect(source.locator("mark")).to_be_visible()
    quote, passage = source.locator("mark").inner_text(), source.locator(".passage")
    expect(passage).to_contain_text(quote)
    expect(passage).not_to_have_text(quote)  # it stands in the text around it
    accessible(page)
    page.keyboard.press("Escape")
    expect(source).to_have_count(0)


def test_the_keys_lead_to_the_fleet_and_on_to_a_device(page: Page, settings: Settings):
    signed_in(page, settings)
    page.locator("body").press("Tab")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("g")
    page.keyboard.press("f")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    expect(page.get_by_role("img", name="Devices by score")).to_be_visible()
    accessible(page)
    for keys in ("/", "ga"):
        for key in keys:
            page.keyboard.press(key)
        expect(page.get_by_label("Question")).to_be_focused()
        page.go_back()
        expect(rows).to_have_count(50)
    name = rows.first.get_by_role("link").inner_text()
    rows.first.get_by_role("link").press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.locator("figure canvas").first).to_be_visible()
    expect(page.get_by_role("heading", name="What to do")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Runbook:").first.click()
    expect(page.get_by_role("dialog").locator("mark")).to_be_visible()


def test_troubleshooting_shows_each_check_and_leads_to_a_guide(page: Page, settings: Settings):
    signed_in(page, settings)
    page.goto("/console/#/troubleshoot/machine-006")
    expect(page.get_by_role("heading", name="Troubleshoot machine-006")).to_be_visible()
    page.evaluate(SHOWN)
    page.get_by_label("Error code").fill("E421")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Likely causes")).to_be_visible(timeout=60_000)
    expect(page.locator(".steps [aria-current=step]")).to_be_visible()
    shown = page.evaluate("[...window.shown]")
    assert any(step.startswith("reporting: ") for step in shown), shown
    assert any(" causes immediate actions" in step for step in shown), shown
    accessible(page)
    page.get_by_role("button", name="No effect").press("Enter")
    expect(page.locator(".steps .past")).to_have_count(1)
    expect(page.locator(".steps .now")).to_be_focused()
    page.get_by_role("button", name="That solved it").press("Enter")
    expect(page.locator(".advice")).to_be_focused()
    page.locator(".steps summary").last.press("Enter")
    accessible(page)
    page.get_by_role("button", name="No effect").press("Enter")
    expect(page.locator(".steps .now")).to_be_focused()


def test_of_two_tabs_on_a_guide_the_second_is_told_what_the_first_reported(page: Page, settings: Settings):
    token = issue_token(settings.auth, TENANT, "o", "operator")
    made = page.request.post(
        "/troubleshoot",
        data={"device_id": "machine-006", "error_code": "E421"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60_000,
    )
    tabs = [signed_in(each, settings) for each in (page, page.context.new_page())]
    for tab in tabs:
        tab.goto(f"/console/#/guides/{made.json()['id']}")
        expect(tab.locator(".steps [aria-current=step]")).to_have_attribute("value", "1")
    first, second = tabs
    first.get_by_label("Note").fill("greased")
    first.get_by_role("button", name="Done", exact=True).press("Enter")
    expect(first.locator(".steps .past")).to_contain_text("Done: greased")
    second.get_by_role("button", name="No effect").press("Enter")
    alert = second.get_by_role("alert")
    expect(alert).to_contain_text("has changed in the meantime")
    expect(alert).to_be_focused()
    expect(second.locator(".steps .past")).to_contain_text("Done: greased")
    accessible(second)
    second.locator(".steps summary").press("Enter")
    second.locator(".steps .past").get_by_role("button", name="No effect").press("Enter")
    expect(second.locator(".steps .past")).to_contain_text("No effect: greased")
    expect(alert).to_have_count(0)


def test_what_was_asked_is_forgotten_with_its_conversation_and_with_its_user(page: Page, settings: Settings):
    signed_in(page, settings)
    page.route("**/ask", lambda route: None)
    ask(page, "Is all well?")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    answer(page, "**/ask", *BEGUN, DONE)
    ask(page, "And now?")
    expect(page.locator(".turn")).to_contain_text("All is well.")
    refusal = {"error": {"message": "the token has expired"}}
    page.route("**/insights?limit=50", lambda route: route.fulfill(status=401, json=refusal))
    page.get_by_role("link", name="Fleet", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("the token has expired")
    page.goto("/console/#/ask")
    sign_in(page, settings)
    expect(page.locator(".turn")).to_have_count(0)
    page.unroute("**/ask")
    page.route("**/ask", lambda route: route.fulfill(status=401, json=refusal))
    ask(page, "And now?")
    expect(page.get_by_role("alert")).to_have_text("the token has expired")
    expect(page.get_by_label("Access token")).to_be_visible()


def test_what_breaks_off_says_so_and_can_be_tried_again(page: Page, settings: Settings):
    signed_in(page, settings)
    answer(page, "**/ask", *BEGUN)
    ask(page, "Is all well?")
    expect(page.get_by_role("alert")).to_contain_text("broke off")
    expect(page.get_by_role("heading", name="Sources", exact=True)).to_be_visible()
    expect(page.get_by_label("Question")).to_have_value("Is all well?")
    answer(page, "**/troubleshoot", ("trace", {"message": "reporting: passed"}))
    page.goto("/console/#/troubleshoot/machine-006")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("broke off")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    page.goto("/console/#/constructor")  # no view, though every object has one
    expect(page.get_by_label("Question")).to_be_visible()


def test_a_source_is_read_in_its_place_or_is_the_fleet(page: Page, settings: Settings):
    signed_in(page, settings)
    answer(page, "**/ask", *BEGUN, DONE)
    passage = {"text": "\N{WRENCH} Worn? Replace the belt. Then go.", "start": 95}
    page.route("**/passages?*", lambda route: route.fulfill(json=passage))
    ask(page, "Is all well?")
    page.locator(".answer .marker").last.click()
    source = page.get_by_role("dialog")
    expect(source.locator(".passage")).to_have_text(passage["text"])
    expect(source.locator("mark")).to_have_text("Replace the belt.")
    page.keyboard.press("Escape")
    page.locator(".answer .marker").first.click()
    source.get_by_role("link", name="Open the fleet").click()
    expect(page.get_by_role("heading", name="Fleet", exact=True)).to_be_visible()


def test_readings_that_bring_one_metric_each_are_drawn_and_times_are_in_utc(page: Page, settings: Settings):
    page.route("**/insights/in-turn", lambda route: route.fulfill(json=IN_TURN))
    signed_in(page, settings)
    page.goto("/console/#/devices/in-turn")
    expect(page.locator(".log").last).to_contain_text("8:00 PM UTC")
    expect(page.locator("figure canvas")).to_have_count(2)
    for chart in page.locator("figure canvas").all():
        assert chart.evaluate(DRAWN) > 100


def test_a_phone_scrolls_in_one_direction(browser: Browser, settings: Settings, hostile: Tenant):
    context = browser.new_context(viewport={"width": 375, "height": 740}, base_url=settings.serve.url)
    page = signed_in(context.new_page(), settings)
    fits(page, "#/fleet", "#/devices/machine-006", "#/ask")
    answer(page, "**/ask", ("trace", {"message": UNBROKEN}), ("token", {"text": UNBROKEN}))
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, settings, hostile)
    ask(page, UNBROKEN)
    expect(page.get_by_role("alert")).to_be_visible()
    fits(page, "#/ask", "#/fleet", f"#/devices/{VALVE}", f"#/troubleshoot/{VALVE}")
    context.close()


def fits(page: Page, *views: str) -> None:
    """No view is wider than the page."""
    for view in views:
        page.goto(f"/console/{view}")
        expect(page.locator("main h1")).to_be_attached()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_a_documents_markup_stays_text(page: Page, settings: Settings, hostile: Tenant):
    signed_in(page, settings, hostile)
    page.get_by_label("Question").fill("Why does the valve V-77 stick?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="ources")).to_be_visible(timeout=120_000)
    page.locator(".sources .marker, .answer .marker").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    unharmed(page)


def test_a_devices_markup_stays_text(page: Page, settings: Settings, hostile: Tenant):
    signed_in(page, settings, hostile)
    page.goto("/console/#/fleet")
    expect(page.locator("tbody tr")).to_contain_text(MARKUP)
    page.goto(f"/console/#/devices/{VALVE}")
    expect(page.locator(".log").last).to_contain_text(MARKUP)
    expect(page.locator(".components")).to_contain_text(MARKUP)
    page.goto(f"/console/#/troubleshoot/{VALVE}")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Checks")).to_be_visible(timeout=60_000)
    expect(page.locator("main")).to_contain_text("document.title='owned'")
    unharmed(page)
