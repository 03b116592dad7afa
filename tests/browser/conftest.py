"""A headless Chromium, Debian's package of that name, driven by Playwright; and a browser that has been let in."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable

import pytest

from tests.engine.databases import copy_of
from tests.http.servers import Served, served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

ARGUMENTS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
"""Chromium's sandbox does not run as root, as in CI."""


def until(page, condition: str) -> None:
    """Wait until an expression is true on the page: Playwright's own way needs eval(), which the page forbids."""
    end = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def let_in(page, token: str) -> None:
    """Enter the token in the form that is shown, and wait for the page behind it."""
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Enter").click()
    is_there(page)


def is_there(page) -> None:
    """Wait until the page knows of its database."""
    page.locator("#tab-ask").wait_for()
    until(page, "about !== null")


@pytest.fixture(scope="module")
def launch():
    """A function that starts the browser, with further arguments."""
    playwright = pytest.importorskip("playwright.sync_api", reason="this needs: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("Chromium is not here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        yield lambda *more: driver.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *more])


@pytest.fixture(scope="module")
def browser(launch):
    """The browser."""
    opened = launch()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(passage_files, tmp_path_factory):
    """A server of the passages, for a page that is opened by its token."""
    path = copy_of(passage_files["sqlite"], tmp_path_factory.mktemp("page"), "passages")
    with served(path, "--http") as one:
        yield one


@pytest.fixture
def enter(browser, server) -> Callable:
    """A function that opens a path of the page in a browser that has no session yet, and lets it in."""
    contexts = []

    def opened(path: str = "/", at: Served = server, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: page.said.append(f"error: {error}"))
        page.set_default_timeout(60_000)
        page.goto(at.url + path)
        let_in(page, at.token)
        del page.said[:]  # of the refusal, 401
        return page

    yield opened
    for context in contexts:
        context.close()
