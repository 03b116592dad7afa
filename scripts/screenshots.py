"""Take the pictures of the page in docs/, in both themes: page-light.png and page-dark.png.

    python scripts/screenshots.py python-stdlib.db    # as `sqlrag demo` has made it

Needs Debian's packages chromium and fonts-inter, and `pip install playwright pillow`. A picture has 128 colours and
takes 70 kB, a third of what the browser writes.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = 128
WARM = "which items turn up most often?"
ASKED = "how long does a piece of code take?"


def main(path: str) -> None:
    """Serve a database, ask, and take a picture in each theme."""
    command = [sys.executable, "-m", "sqlrag", "serve", path, "--http", "--port", "0", "--time-limit", "60", "--json"]
    for scheme in ("light", "dark"):  # a server each: one remembers scores, and would say that reranking takes no time
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own server
            try:
                told = json.loads(server.stdout.readline())
                _take(told["url"], told["token"], scheme)
            finally:
                server.terminate()


def _take(url: str, token: str, scheme: str) -> None:
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 820}, color_scheme=scheme)
        page.goto(url)
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Enter").click()
        for question in (WARM, ASKED):  # the first one loads the models
            page.get_by_label("Question", exact=True).fill(question)
            page.keyboard.press("Enter")
            page.get_by_text("Copy link").wait_for(timeout=90_000)
            page.wait_for_timeout(6000)
        page.evaluate("document.activeElement.blur()")
        page.locator("mark.s").first.wait_for()
        taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        colours = sorted(taken.getcolors(1 << 24), reverse=True)[:COLOURS]  # the areas keep theirs
        palette = Image.new("P", (1, 1))
        palette.putpalette([part for _, colour in colours for part in colour])
        small = taken.quantize(palette=palette, dither=Image.Dither.NONE)
        small.save(DOCS / f"page-{scheme}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
