"""A real browser, where there is one."""

import os

import pytest


@pytest.fixture
def browser():
    """Chromium driven by Playwright; CHROMIUM names one that Playwright did not install itself."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(
                executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox", "--single-process", "--no-zygote"]
            )
        except playwright.Error as error:
            pytest.skip(f"no Chromium for playwright ({str(error).splitlines()[0]})")
        yield opened
        opened.close()
