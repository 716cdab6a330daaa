"""The page of a report in a browser: drawn, quiet, and asking nobody for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
from chromium import BROWSER, Browser
from made_up_study import probe_report, write_study

from policies.ablation.grid import AblationConfig
from policies.report import palette
from policies.report.compose import compose
from policies.report.page import page

STROKE = "getComputedStyle(document.querySelectorAll('.scatterlayer .js-line')[1]).stroke"
"""Colour of the first curve; the first line of all is the edge of its band."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("there is no Chromium to look at the page with")
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("state", "resnet-pose", 'odd</script> "name" <b>&', "vit-dynamics")
    config = AblationConfig(names, algorithms=("dagger", "ppo"), seeds=2)
    ablation = write_study(tmp_path_factory.mktemp("studies") / "made-up", config)
    folder = ablation.folder(config.cells[0]) / "videos"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8)
    imageio.v3.imwrite(folder / "best.mp4", frames, fps=5)
    (ablation.path / "probes").mkdir()
    (ablation.path / "probes" / "report.json").write_text(probe_report("resnet-pose", 0.1))
    path = ablation.path / "report.html"
    path.write_text(page(compose(ablation.path)), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_page_is_drawn(browser, html, width, height, scheme) -> None:
    browser.show(html, width, height, scheme)
    figures = browser.ask("document.querySelectorAll('.plot').length")
    assert figures == 22
    assert browser.ask("[...document.querySelectorAll('.plot')].every(p => p.querySelector('svg'))")
    assert browser.ask("document.querySelectorAll('.scatterlayer .trace').length") > 0
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.complaints == []
    elsewhere = {url for url in browser.requests if not url.startswith("data:")}
    assert elsewhere == {html.as_uri()}
    color = palette.INK[scheme == "dark"]
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    assert browser.ask(STROKE) == f"rgb({red}, {green}, {blue})"


def test_figures_follow_the_scheme(browser, html) -> None:
    browser.show(html, 1280, 900, "light")
    before = browser.ask(STROKE)
    browser(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )
    # The page hears of it before the next frame but one.
    browser.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.ask(STROKE) != before


def test_a_legend_hides_a_representation_in_its_section_alone(browser, html) -> None:
    browser.show(html, 1280, 900, "light")
    shown = (
        "[...document.querySelectorAll('#method-{} .plot')].map("
        "p => p.data.filter(t => t.meta === 'state' && t.visible !== false).length)"
    )
    before = [browser.ask(shown.format(number)) for number in (0, 1)]
    assert before[0] == before[1] and sum(before[0]) > 0
    button = "document.querySelector('#method-0 .legend button')"
    browser.ask(f"{button}.click()")
    assert browser.ask(f"{button}.getAttribute('aria-pressed')") == "false"
    assert sum(browser.ask(shown.format(0))) == 0
    assert browser.ask(shown.format(1)) == before[1]
    browser.ask(f"{button}.click()")
    assert browser.ask(shown.format(0)) == before[0]
    assert browser.complaints == []


def test_a_heading_sorts_its_table(browser, html) -> None:
    browser.show(html, 1280, 900, "light")
    values = (
        "[...document.querySelector('#method-0 table').tBodies[0].rows]"
        ".map(row => parseFloat(row.cells[1].dataset.value))"
    )
    button = "document.querySelector('#method-0 th button')"
    for order, falling in (("descending", True), ("ascending", False)):
        browser.ask(f"{button}.click()")
        assert browser.ask(f"{button}.closest('th').getAttribute('aria-sort')") == order
        found = browser.ask(values)
        assert found == sorted(found, reverse=falling)
        assert len(set(found)) > 1


def test_the_video_plays(browser, html) -> None:
    browser.show(html, 1280, 900, "light")
    played = (
        "new Promise((done, fail) => { const video = document.querySelector('video');"
        "video.onended = video.ontimeupdate = () => video.currentTime > 0 && done(true);"
        "video.onerror = () => fail(video.error.message); video.load(); video.play(); })"
    )
    assert browser.ask("document.querySelectorAll('video').length") == 1
    assert browser.ask(played)


def test_a_page_without_figures_is_quiet_too(browser, tmp_path) -> None:
    config = AblationConfig(("state",), seeds=1)
    ablation = write_study(tmp_path / "s", config, failed=config.cells)
    path = ablation.path / "report.html"
    path.write_text(page(compose(ablation.path)), encoding="utf-8")
    browser.show(path, 1280, 900, "light")
    assert browser.ask("document.querySelectorAll('.plot').length") == 0
    assert browser.complaints == []
