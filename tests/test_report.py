from __future__ import annotations

import csv
import gzip
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise, permutations
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
from made_up_study import CONNECTORS, tables, write_study
from scipy.stats import trim_mean

from policies import cli
from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig, Cell
from policies.evaluation.statistics import interquartile_interval
from policies.report import measurements as m
from policies.report import palette, videos
from policies.report.compose import Report, compose
from policies.report.markdown import markdown
from policies.report.measurements import Section, sections
from policies.report.numbers import commit, duration, percent, spoken_list, steps
from policies.report.overview import overview
from policies.report.page import page
from policies.report.study import read_study
from vtenv.run_folder import read_table, write_table

NAMES = ("state", "resnet-pose", "resnet-pose:touch", "random")
GRID = AblationConfig(NAMES, algorithms=("dagger", "ppo"), starts=("scratch", "warm"), seeds=3)
FAILED = Cell("random", "dagger", "scratch", 1)
MISSING = Cell("random", "ppo", "warm", 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    return write_study(tmp_path_factory.mktemp("studies") / "made-up", GRID, [FAILED], [MISSING])


@pytest.fixture(scope="module")
def content(study: Ablation) -> Report:
    return compose(study.path)


@pytest.fixture
def small(tmp_path: Path) -> Ablation:
    """One run."""
    return write_study(tmp_path / "small", AblationConfig(("resnet-pose",), seeds=1))


def rates(ablation: Ablation, representation: str, algorithm: str, start: str) -> np.ndarray:
    """Success rates (R, T), counted in the table of all episodes."""
    with (ablation.path / "episodes.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["representation"], row["algorithm"], row["start"])
            == (representation, algorithm, start)
        ]
    seeds = sorted({row["seed"] for row in rows})
    return np.array(
        [
            [
                np.mean(
                    [
                        int(row["success"])
                        for row in rows
                        if (row["seed"], row["connector"]) == (seed, connector)
                    ]
                )
                for connector in CONNECTORS
            ]
            for seed in seeds
        ]
    )


def first_section(ablation: Ablation) -> Section:
    return sections(read_study(ablation.path), {})[0]


@pytest.mark.parametrize(
    ("title", "algorithm", "start"),
    [
        ("Distilled from the scripted expert (DAgger)", "dagger", "scratch"),
        ("PPO from scratch", "ppo", "scratch"),
        ("PPO from a warm start", "ppo", "warm"),
    ],
)
def test_the_headline_is_what_the_episodes_come_to(study, content, title, algorithm, start) -> None:
    table = tables(markdown(content))[title, "seeds"]
    assert set(table) == set(NAMES)
    for name, cells in table.items():
        scores = rates(study, name, algorithm, start)
        success, mean, *connectors, reached, _, embedding, _, seeds = cells
        found = interquartile_interval(scores, np.random.default_rng(0))
        low, high = percent(found.low).removesuffix("%"), percent(found.high)
        assert success == f"{percent(trim_mean(scores, 0.25, axis=None))} ({low} to {high})"
        assert mean == percent(scores.mean())
        for connector, column in zip(connectors, scores.T, strict=True):
            assert connector == percent(column.mean())  # of up to three, none is left out
        assert embedding == ("-" if name == "state" else "256")
        assert seeds == ("3" if len(scores) == 3 else "2 of 3")
        assert reached == expected_reached(study, name, algorithm, start)


def expected_reached(ablation: Ablation, name: str, algorithm: str, start: str) -> str:
    reached = []
    for seed in range(3):
        path = ablation.folder(Cell(name, algorithm, start, seed)) / "evaluations.csv"
        if path.is_file():
            with path.open() as file:
                at = [int(r["steps"]) for r in csv.DictReader(file) if float(r["success"]) >= 0.9]
            reached.append(min(at, default=np.inf))
    median, count = np.median(reached), int(np.isfinite(reached).sum())
    if np.isinf(median):
        return f"{count} of {len(reached)} runs" if count else "never"
    return steps(median) + ("" if count == len(reached) else f" ({count} of {len(reached)})")


def test_failures_and_success_make_a_whole(content) -> None:
    for section in content.sections:
        for name, runs in section.runs.items():
            failed = sum(section.value(name, m.FAILED, cause) or 0 for cause in section.causes)
            assert failed == pytest.approx(1 - section.value(name, m.MEAN))
            assert section.value(name, m.EPISODES) == 40 * len(runs)


def test_one_of_two_is_better_or_they_tie(study, content) -> None:
    section = content.sections[0]
    for one, other in permutations(section.runs, 2):
        chance = section.estimate(one, m.BETTER, other)
        pairs = [
            np.mean((a > b) + 0.5 * (a == b))
            for a in rates(study, one, "dagger", "scratch")
            for b in rates(study, other, "dagger", "scratch")
        ]
        assert chance.value == pytest.approx(np.mean(pairs))
        assert chance.low <= chance.value <= chance.high
        back = section.estimate(other, m.BETTER, one)
        assert chance.value + back.value == pytest.approx(1.0)
        assert chance.low + back.high == pytest.approx(1.0)


def test_a_curve_ends_where_the_last_evaluations_do(content) -> None:
    section = content.sections[0]
    curve = section.bands(m.LEARNING).get("state")
    last = np.array([run.success_by_connector[-1] for run in section.runs["state"]])
    assert curve.estimate[-1] == pytest.approx(trim_mean(last, 0.25, axis=None))
    assert curve.x[-1] == 400_000


def test_cells_without_a_policy_are_listed(content) -> None:
    table = tables(markdown(content))["Missing policies", "why"]
    assert table == {
        FAILED.name: ["RuntimeError: <out of memory> & more"],
        MISSING.name: ["not trained yet"],
    }


def test_a_run_that_lacks_a_connector_is_left_out(tmp_path) -> None:
    ablation = write_study(tmp_path / "s", AblationConfig(("state", "resnet-pose"), seeds=2))
    path = ablation.folder(Cell("state", "dagger", "scratch", 1)) / "episodes.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if ",usb," not in line))
    section = first_section(ablation)
    assert [len(runs) for runs in section.runs.values()] == [1, 2]
    assert section.notes == ("state, dagger, seed 1 has no final episodes of usb and is left out.",)


def test_runs_that_were_never_evaluated_have_no_curve(small) -> None:
    folder = small.folder(GRID.cells[1])
    for name in ("evaluations.csv", "result.json", "config.json"):
        (folder / name).unlink()
    section = first_section(small)
    assert section.bands(m.LEARNING).get("resnet-pose") is None
    for quantity in (m.STEPS, m.SECONDS, m.EMBEDDING):
        assert section.estimate("resnet-pose", quantity) is None
    assert "there are no curves" in page(compose(small.path))


def test_one_seed_has_no_interval(small) -> None:
    text = markdown(compose(small.path))
    title = "Distilled from the scripted expert (DAgger)"
    assert " to " not in tables(text)[title, "seeds"]["resnet-pose"][0]
    assert "may be luck" in text
    html = page(compose(small.path))
    for missing in ("no videos", "None: every policy"):
        assert missing in html


def test_a_grid_of_failures_is_reported_on(tmp_path) -> None:
    config = AblationConfig(("state",), seeds=2)
    ablation = write_study(tmp_path / "s", config, failed=config.cells)
    content = compose(ablation.path)
    assert "No policy has been trained in this way yet." in markdown(content)
    assert "&lt;out of memory&gt; &amp; more" in page(content)


def test_the_same_study_is_the_same_report(study, content) -> None:
    first, second = content, compose(study.path)
    assert page(first) == page(second)
    assert markdown(first) == markdown(second)


class Outline(HTMLParser):
    """Headings, addresses and element ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h1", "h2", "h3", "h4"):
            self.levels.append(int(tag[1]))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_page_holds_what_it_needs(content) -> None:
    outline = Outline(page(content))
    assert outline.levels[0] == 1 and outline.levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(outline.levels))
    assert len(set(outline.ids)) == len(outline.ids)
    inside = {address for address in outline.addresses if address.startswith("#")}
    assert {address[1:] for address in inside} <= set(outline.ids)
    assert {address.partition("base64,")[0] for address in outline.addresses} - inside == {
        "data:,",
        "data:image/png;",
    }


def test_names_are_text_and_no_markup(tmp_path) -> None:
    name = 'x</script><b a="1">&|y'
    ablation = write_study(tmp_path / "s", AblationConfig((name, "state"), seeds=1))
    content = compose(ablation.path)
    html = page(content)
    assert "x</script>" not in html and "x&lt;/script&gt;&lt;b" in html
    assert 'x</script><b a="1">&\\|y' in markdown(content)


def test_a_small_video_is_in_the_page_and_a_large_one_beside_it(study, tmp_path) -> None:
    representations = ("state", "resnet-pose")
    ablation = write_study(tmp_path / "s", AblationConfig(representations, seeds=3))
    for cell in ablation.read_grid().cells:
        folder = ablation.folder(cell) / "videos"
        folder.mkdir()
        with (folder / "best.mp4").open("wb") as file:
            file.truncate(100 if cell.representation == "state" else videos.MAX_BYTES + 1)
        (folder / ".best-0123.mp4").touch()  # as one is called that is being written
    content = compose(ablation.path)
    chosen = videos.choose(content.study.runs, ablation.path)
    assert [video.run.cell.representation for video in chosen] == list(representations)
    for video in chosen:
        alike = [r.rate for r in content.study.runs if r.cell.variant == video.run.cell.variant]
        assert video.run.rate == np.median(alike)
    sources = Outline(page(content)).addresses
    assert sum(source.startswith("data:video/mp4;base64,") for source in sources) == 1
    linked = [ablation.path / source for source in sources if source.endswith(".mp4")]
    assert len(linked) == 1 and all(path.is_file() for path in linked)
    assert page(content).count("videos/best.mp4</code>") == 6  # named, and not linked to


def luminance(color: str) -> float:
    parts = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("dark", "background"), [(False, "#ffffff"), (True, "#12161c")])
def test_colours_stand_out_from_the_page(dark, background) -> None:
    style = Path(palette.__file__).with_name("page.css").read_text()
    assert f"--page: {background}" in style
    for color in (palette.INK[dark], *(pair[dark] for pair in palette.SERIES)):
        low, high = sorted((luminance(color), luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= 3.0, color


def test_no_two_representations_look_the_same() -> None:
    names = ["state", *(f"encoder-{i}" for i in range(20))]
    found = palette.styles(names).values()
    for mark in ("dash", "symbol", "pattern"):  # of lines, points and bars
        assert len({(style.color, getattr(style, mark)) for style in found}) == len(names)


@pytest.mark.parametrize(
    ("count", "expected"), [(950, "950"), (12_340, "12.3 k"), (999_900, "1 M")]
)
def test_steps_in_words(count, expected) -> None:
    assert steps(count) == expected


def test_times_and_lists_in_words() -> None:
    assert [duration(s) for s in (42, 720, 12_240)] == ["42 s", "12 min", "3.4 h"]
    assert spoken_list(["a", "b", "c"]) == "a, b and c"
    assert [percent(p) for p in (0.0, 0.0312, 1.0)] == ["0%", "3.1%", "100%"]


def test_a_commit_that_was_changed_is_marked(small) -> None:
    assert commit("0123456789ab") == "0123456789ab"
    path = small.folder(small.read_grid().cells[0]) / "config.json"
    path.write_text('{"commit": "89abcdef0123-dirty"}')
    content = compose(small.path)
    for text in (page(content), markdown(content)):
        assert "0123456789ab; 89abcdef0123 with uncommitted changes" in text


@pytest.mark.parametrize(
    ("folder", "title"), [("ablation", "Ablation"), ("made-up", "Ablation made-up")]
)
def test_a_title_says_ablation_once(tmp_path, folder, title) -> None:
    ablation = write_study(tmp_path / folder, AblationConfig(("state",), seeds=1))
    assert compose(ablation.path).title == title


def test_connectors_and_causes_are_those_of_the_episodes(small) -> None:
    folder = small.folder(small.read_grid().cells[0])
    rows = ["connector,success,failure", "hdmi,1,", "hdmi,0,bent", "rj45,1,"]
    (folder / "episodes.csv").write_text("\n".join(rows) + "\n")
    section = first_section(small)
    assert section.connectors == ("hdmi", "rj45")
    assert section.causes == ("bent",)
    assert section.value("resnet-pose", m.SUCCESS, "hdmi") == 0.5
    assert "bent" in page(compose(small.path))


def test_the_command_writes_a_page_and_tables(study, capsys) -> None:
    assert cli.main(["report", str(study.path)]) == 0
    shown = capsys.readouterr().out
    assert "34 of 36 policies are trained" in " ".join(shown.split())
    for name in ("report.html", "report.md", "scores.png"):
        assert name in shown.replace("\n", "")
    for name in ("report.png", "scores.png"):
        assert imageio.v3.imread(study.path / name).std() > 10


def test_a_study_that_is_published_as_tables_is_reported_alike(study, tmp_path) -> None:
    whole = read_study(study.path)
    shutil.copy(study.path / "ablation.json", tmp_path)
    with gzip.open(tmp_path / "episodes.csv.gz", "wt") as file:
        file.write((study.path / "episodes.csv").read_text())
    evaluations = []
    for cell in study.read_grid().cells:
        path = study.folder(cell) / "evaluations.csv"
        if study.state(cell) == "done" and path.is_file():
            evaluations += [{**asdict(cell), **row} for row in read_table(path)]
    write_table(tmp_path / "evaluations.csv", evaluations)
    published = read_study(tmp_path)
    assert published.missing == whole.missing
    for one, other in zip(published.runs, whole.runs, strict=True):
        assert one.finals == other.finals and one.episodes == other.episodes
        np.testing.assert_array_equal(one.steps, other.steps)
        np.testing.assert_array_equal(one.success_by_connector, other.success_by_connector)


def test_the_picture_shows_every_run_and_what_they_come_to(study) -> None:
    content = compose(study.path)
    figure = overview(content.sections, list(content.study.representations))
    shown = [section for section in content.sections if section.runs]
    for axes, section in zip(figure.axes, shown, strict=True):
        assert axes.get_title() == section.method.title
        runs = sorted(run.rate for alike in section.runs.values() for run in alike)
        assert sorted(axes.lines[0].get_xdata()) == runs
        sure = [name for name in section.runs if name not in section.unsure]
        values = [section.value(name, m.SUCCESS) for name in sure]
        assert list(axes.containers[0].lines[0].get_xdata()) == values


def test_what_is_no_study_is_refused_in_one_line(tmp_path, capsys) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ablation.json").write_text("{")
    for name, expected in (
        ("empty", "holds no ablation.json"),
        ("broken", "ablation.json is not JSON"),
    ):
        (tmp_path / name).mkdir(exist_ok=True)
        assert cli.main(["report", str(tmp_path / name)]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("vtinsert report: ") and expected in shown
        assert not (tmp_path / name / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("episodes.csv", "connector,success\nusb,1\n", "no column 'failure'"),
        ("episodes.csv", "connector,success,failure\n", "has no episodes"),
        ("episodes.csv", "connector,success,failure\nusb,yes,\n", "line 2: success is 'yes'"),
        ("episodes.csv", "connector,success,failure\nusb,1\n", "line 2: the row is cut off"),
        ("evaluations.csv", "steps,success\n0,none\n", "evaluations.csv, line 2"),
        ("result.json", "[]", "result.json is not a JSON object"),
        ("config.json", "{", "config.json is not JSON"),
    ],
)
def test_a_broken_file_is_named(small, name, text, expected) -> None:
    (small.folder(small.read_grid().cells[0]) / name).write_text(text)
    with pytest.raises(ValueError, match=expected):
        compose(small.path)
