from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import Figures, publish

STARTS = Figures(
    "5-starts", "Starts", ("", "wall s", "goal"), [("help", "0.29", ""), ("run", "2.40", "< 5")], [0.29, 2.4]
)
NOTED = Figures("9-landing", "A landing", ("", "MB"), [("disk", "1,354")], [1354], ["Goal: 2 s: kept."])


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PAGE", "PLOT", "KEPT"):
        monkeypatch.setattr(figures, name, tmp_path / name)
    return tmp_path / "PAGE"


def sections(page: Path) -> list[str]:
    return page.read_text().split("\n## ")[1:]


def test_publishing_keeps_the_sections_whose_figures_are_not_at_hand(page: Path):
    for each in (STARTS, NOTED):
        each.keep()
    publish()
    starts, noted = sections(page)
    (page.with_name("KEPT") / "9-landing.json").unlink()
    (page.with_name("KEPT") / "5-starts.json").unlink()
    Figures("12-cdc", "Changes", ("", "s"), [("ours", "1.0")], [1.0]).keep()
    publish()
    assert sections(page)[0] == starts
    assert sections(page)[1].strip() == noted.strip()
    assert sections(page)[2].startswith("Changes\n")
    assert "Starts" in page.with_name("PLOT").read_text()


def test_what_was_measured_again_takes_the_place_of_its_section(page: Path):
    for each in (STARTS, NOTED):
        each.keep()
    publish()
    Figures("5-starts", "Starts", ("", "wall s"), [("help", "0.31")], [0.31]).keep()
    publish()
    again, noted = sections(page)
    assert "0.31" in again
    assert "0.29" not in again
    assert "Goal: 2 s: kept." in noted


def test_the_page_is_read_as_it_was_written():
    for section in sections(figures.PAGE):
        assert figures._section(figures._read(section)).strip() == f"## {section}".strip()
