"""The UI as a person sees it, in a headless Chromium.

The pictures of README and docs are taken anew, of three months of orders and a bad day, by
    TAKE_PICTURES=docs/images .venv/bin/python -m pytest lakehouse_tests/integration/test_browser.py -k pictures
"""

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from datetime import date
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lakehouse import tables
from lakehouse.engine.orchestrate.load import tables_in
from lakehouse.example.replay import days
from lakehouse.tables.silver.orders import orders
from lakehouse_tests.integration.dagster_dev import ENDED, PROJECT, DagsterDev, until
from resources.local_disk import LocalDisk

pytestmark = pytest.mark.browser

WINDOW = {"width": 1500, "height": 800}
PATIENCE = 60_000  # ms
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TABLES = [each.declaration for each in tables_in(tables)]
GROUPS = {each.layer for each in TABLES}
OPENED = ",".join(f"global@global:{group}" for group in GROUPS)  # as Dagster itself writes it into the address


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        missing = "no Chromium: apt install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true and {missing}")
        pytest.skip(missing)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page, in which a script error fails the test."""
    opened = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type] # a ViewportSize is this dict
    opened.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert errors == []


def open_graph(page: Page, server: DagsterDev) -> None:
    """The asset graph with all its groups opened, in a window that holds it: only what is in view is drawn."""
    page.set_viewport_size({"width": 2500, "height": 300 * len(TABLES)})
    page.goto(f"{server.url}/asset-groups?expanded={OPENED}")
    expect(page.get_by_text(TABLES[0].name, exact=True)).to_be_visible()


def test_the_graph_shows_every_table_below_the_name_of_its_group(page: Page, server: DagsterDev):
    open_graph(page, server)
    for group in GROUPS:
        expect(page.get_by_text(group, exact=True).last).to_be_visible()
    for each in TABLES:
        expect(page.get_by_text(each.name, exact=True)).to_be_visible()


def test_a_table_is_materialized_from_its_page_and_the_run_succeeds(page: Page, server: DagsterDev):
    until(server.drained, 120, what="the end of all work")
    before = server.runs()
    page.goto(f"{server.url}/assets/gold/daily_sales")
    page.locator("button", has_text="Materialize").first.click()
    [run] = until(lambda: server.new_runs(before), 30, what="a run after a click")
    assert run.tables == {"gold/daily_sales"}
    page.goto(f"{server.url}/runs/{run.id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()


def test_upkeep_is_launched_from_its_job_and_what_it_did_stands_beside_the_table(page: Page, server: DagsterDev):
    until(server.drained, 120, what="the end of all work")
    kept = launched_upkeep(page, server)
    assert server.status(kept) == "SUCCESS"
    page.goto(f"{server.url}/assets/silver/orders?view=events")
    expect(page.get_by_text("Observed in run").first).to_be_visible()
    for name in ("small_file_ratio_before", "bytes_before", "bytes_after", "folder/bytes_after", "retention_hours"):
        expect(page.get_by_text(name, exact=True)).to_be_visible()


def test_upkeep_and_checks_are_scheduled_for_each_layer_from_the_start(page: Page, server: DagsterDev):
    page.goto(f"{server.url}/automation")
    jobs = [f"{job}_{layer}" for job in ("upkeep", "check") for layer in ("bronze", "silver", "gold")]
    for job in jobs:
        expect(page.get_by_text(job, exact=True).first).to_be_visible()
    asked = """query ($of: RepositorySelector!) { schedulesOrError(repositorySelector: $of) { ... on Schedules {
        results { name scheduleState { status } } } } }"""
    of = {"repositoryName": "__repository__", "repositoryLocationName": "lakehouse"}
    told = server.ask(asked, of=of)["schedulesOrError"]["results"]
    assert {each["name"]: each["scheduleState"]["status"] for each in told} == {
        "nightly": "STOPPED",
        **dict.fromkeys(jobs, "RUNNING"),
    }


def launched_upkeep(page: Page, server: DagsterDev) -> str:
    """The id of a run of the job that keeps the silver tables, which has ended."""
    before = server.runs()
    page.goto(f"{server.url}/locations/lakehouse/jobs/upkeep_silver/playground")
    page.locator("button", has_text="Launch").last.click()
    [run] = until(lambda: server.new_runs(before), 60, what="a run after a click")
    until(lambda: server.status(run.id) in ENDED, 120, what="the end of upkeep")
    return run.id


def test_the_checks_tab_shows_each_check_with_what_it_means_and_what_it_found(page: Page, server: DagsterDev):
    page.goto(f"{server.url}/assets/silver/orders?view=checks&checkDetail=a_credit_gives_money_back")
    expect(page.get_by_text(f"Checks ({len(list(orders.check_specs))})")).to_be_visible()
    for check in ("line_count__ge", "reads_exactly", "conserves", "shape"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
    expect(page.get_by_text("A credit note never charges.")).to_be_visible()
    expect(page.get_by_text("This is a blocking asset check.")).to_be_visible()
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()


def test_the_columns_show_words_units_and_the_stored_and_the_promised_type(page: Page, server: DagsterDev):
    page.goto(f"{server.url}/assets/silver/orders")
    expect(page.get_by_text("Sum of its lines; negative for credits [GBP]")).to_be_visible()
    expect(page.get_by_text("Decimal(38, 3)").first).to_be_visible()
    page.goto(f"{server.url}/assets/bronze/erp_orders")
    expect(page.get_by_text("Who bought; empty for sales without an account")).to_be_visible()
    expect(page.get_by_text("reads as Int64")).to_be_visible()


def test_no_welcome_dialog_covers_the_page(page: Page, server: DagsterDev):
    open_graph(page, server)
    assert page.get_by_role("dialog").count() == 0


if os.environ.get("TAKE_PICTURES"):
    FOLDER = PROJECT / os.environ["TAKE_PICTURES"]
    GREEN = '[style*="background-green"]'  # a small node that has heard that its table was materialized

    def test_the_pictures_of_the_docs_are_taken(page: Page, server: DagsterDev):
        assert server.lakehouse("demo").returncode == 0
        until(server.drained, 240, what="the end of all work")
        leave_room(page, server)
        to_daily_sales = quote('+key:"gold/daily_sales"', safe="")
        open_at(page, f"{server.url}/asset-groups~{to_daily_sales}?expanded={OPENED}", 1400, 640)
        picture(page, "graph.png", sees='text="Materialized"', times=4)
        orders = f"{server.url}/assets/silver/orders"
        open_at(page, f"{orders}?view=checks&checkDetail=a_credit_gives_money_back", 1400, 760)
        picture(page, "checks.png", sees='text="Passed"')
        whole = f"{server.url}/asset-groups?expanded={OPENED}"
        open_at(page, whole, 2400, 720)
        turn_upright(page)
        open_at(page, whole, 2400, 720)
        picture(page, "whole-graph.png", sees=GREEN, times=len(TABLES))
        launched_upkeep(page, server)
        open_at(page, f"{orders}?view=events", 1400, 980)
        picture(page, "upkeep.png", sees='text="folder/bytes_after"')
        land_badly(server)
        until(lambda: not server.drained(), 75, what="a run after a file landed")
        until(server.drained, 240, what="the end of all work")
        open_at(page, f"{orders}?view=events", 1400, 1060)
        picture(page, "quarantine.png", sees='text="rejects by reason"')
        open_at(page, f"{orders}?view=checks&checkDetail=reads_exactly", 1400, 940)
        picture(page, "quarantine-check.png", sees='text="reads_exactly"')

    def leave_room(page: Page, server: DagsterDev) -> None:
        """Fold the navigation, which Dagster then remembers."""
        page.goto(f"{server.url}/asset-groups")
        page.get_by_text("Hide navigation").click()

    def turn_upright(page: Page) -> None:
        """Have graphs go from top to bottom, which Dagster remembers as well."""
        expect(page.get_by_label("zoom_out")).to_be_visible()  # until then the only settings are the navigation's
        page.get_by_label("settings").last.click()
        page.get_by_text("Change graph to vertical orientation").click()
        expect(page.get_by_text("Change graph to horizontal orientation")).to_be_visible()

    def land_badly(server: DagsterDev) -> None:
        """A day of orders with a credit that charges, an order without lines, a price that is none, and a torn line."""
        [file] = [each for each in days(date(2011, 3, 1), date(2011, 3, 1)) if each.source == "erp/orders"]
        sent = [json.loads(line) for line in gzip.decompress(file.content).splitlines()]
        sent[4]["order_no"] = "C" + sent[4]["order_no"]
        sent[9]["lines"][0]["unit_price"] = "7.9S"
        sent[17]["lines"] = []
        lines = [json.dumps(each) for each in sent]
        lines[30] = lines[30][:200]
        LocalDisk(path=str(server.home / "landing")).write(file.name, gzip.compress("\n".join(lines).encode()))

    def open_at(page: Page, address: str, width: int, height: int) -> None:
        page.set_viewport_size({"width": width, "height": height})
        page.goto(address)

    def picture(page: Page, name: str, *, sees: str, times: int | None = None) -> None:
        """Taken when what `sees` selects is there, so many `times` where that is said."""
        seen = page.locator(sees).locator("visible=true")
        expect(seen.first).to_be_visible()
        if times is not None:
            expect(seen).to_have_count(times)
        expect(page.get_by_text("Loading...", exact=True).locator("visible=true")).to_have_count(0)
        page.wait_for_timeout(3_000)  # until plots and zooms stand still
        FOLDER.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(FOLDER / name))
        assert (FOLDER / name).stat().st_size < 300_000
