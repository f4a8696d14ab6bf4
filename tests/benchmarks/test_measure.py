"""What the benchmarks' numbers rest on: turns, medians, and the gate that reads them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import bench_streaming, gate
from benchmarks.__main__ import as_json, main, table
from benchmarks.budgets import BUDGETS, Budget, BudgetError, read_budgets
from benchmarks.gate import missed, report
from benchmarks.keep import BEGIN, END, PARTS, WHOLE, shares, tell
from benchmarks.measure import Cost, Group, Line, Reading, Round, cost_of, in_turn
from benchmarks.plots import draw
from benchmarks.rounds import chosen, run_groups
from benchmarks.suite import GROUPS

FOLDER = BUDGETS.parent


def budget(
    must: float, *, stretch: float | None = None, direction: str = "at least", goal: bool = False, name: str = "a.b"
) -> Budget:
    return Budget(
        name=name, must=must, stretch=must if stretch is None else stretch, direction=direction, measures="", goal=goal
    )


def test_every_other_round_goes_the_other_way() -> None:
    seen: list[str] = []
    contestants = {name: lambda name=name: seen.append(name) for name in "abc"}
    for number in range(3):
        in_turn(number, contestants)
    assert "".join(seen) == "abccbaabc"


def test_a_line_keeps_median_and_spread_of_all_rounds() -> None:
    line = Line("a.b", "us", [3.0, 1.0, 100.0])
    assert line.as_json() == {"name": "a.b", "unit": "us", "median": 3.0, "min": 1.0, "max": 100.0, "n": 3}


def test_rounds_of_a_group_are_gathered_by_name_between_its_start_and_end() -> None:
    steps: list[str] = []

    @contextlib.contextmanager
    def start() -> Iterator[Round]:
        steps.append("start")
        yield lambda number: [Reading("one.x", float(number), "s"), Reading("one.y", 7.0, "s")]
        steps.append("end")

    lines = run_groups([Group(name="one", about="", start=start)], 3, progress=False)
    assert lines["one.x"].values == [0.0, 1.0, 2.0]
    assert lines["one.y"].median == 7.0
    assert steps == ["start", "end"]


def test_a_reading_bears_its_groups_name() -> None:
    @contextlib.contextmanager
    def start() -> Iterator[Round]:
        yield lambda number: [Reading("other.x", 1.0, "s")]

    with pytest.raises(ValueError, match="group one"):
        run_groups([Group(name="one", about="", start=start)], 1, progress=False)


def test_all_threads_of_a_process_count() -> None:
    import threading

    def spin() -> None:
        sum(range(3_000_000))

    def in_thread() -> None:
        thread = threading.Thread(target=spin)
        thread.start()
        thread.join()

    alone, threaded = cost_of(spin, 1), cost_of(in_thread, 1)
    assert threaded.cpu_seconds > alone.cpu_seconds / 10


def test_a_cost_is_told_per_piece() -> None:
    cost = Cost(pieces=20_000, cpu_seconds=1.0, wall_seconds=2.0)
    assert (cost.microseconds, cost.per_10k, cost.rate) == (50.0, 0.5, 10_000.0)


def test_a_budget_is_missed_on_the_wrong_side_only() -> None:
    lines = {"a.b": Line("a.b", "x", [1.9, 2.0, 9.0])}
    assert not missed([budget(2.0)], lines)
    assert missed([budget(2.1)], lines)
    assert not missed([budget(2.0, direction="at most")], lines)
    assert missed([budget(1.9, direction="at most")], lines)


def test_a_goal_is_reported_and_never_fails() -> None:
    lines = {"a.b": Line("a.b", "x", [1.0])}
    goal = budget(4.0, goal=True)
    assert not missed([goal], lines)
    assert "not yet" in report([goal], lines)
    assert "MISSED" in report([budget(4.0)], lines)


def test_the_wall_clock_is_not_judged_on_a_busy_machine() -> None:
    lines = {name: Line(name, "x", [1.0]) for name in ("a.b", "a.c")}
    budgets = [replace(budget(2.0), wall=True), budget(2.0, name="a.c")]
    assert [one.name for one in missed(budgets, lines, busy=True)] == ["a.c"]
    assert [one.name for one in missed(budgets, lines)] == ["a.b", "a.c"]
    assert ["busy machine" in row for row in report(budgets, lines, busy=True).splitlines()] == [False, True, False]


def test_what_is_reached_is_said() -> None:
    assert [budget(2.0, stretch=3.0).verdict(value) for value in (1.9, 2.0, 3.0)] == ["MISSED", "holds", "stretch"]
    small = budget(3.0, stretch=1.5, direction="at most")
    assert [small.verdict(value) for value in (3.1, 3.0, 1.5)] == ["MISSED", "holds", "stretch"]


def test_a_budget_that_nothing_measures_is_an_error() -> None:
    with pytest.raises(BudgetError, match="nothing measures"):
        missed([budget(1.0)], {})
    with pytest.raises(BudgetError, match="nothing measures"):
        missed([budget(1.0, goal=True)], {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[budgets]]\nname = 'a.b'", "unknown table budgets"),
        ("[[budget]]\nname = 'a.b'\nmust = 1", "a.b"),
        ("[[budget]]\nname='a.b'\nmust=1\nstretch=2\ndirection='above'\nmeasures=''", "direction"),
        ("[[budget]]\nname='a.b'\nmust=2\nstretch=1\ndirection='at least'\nmeasures=''", "easier"),
        ("[[goal]]\nname='a.b'\nmust=1\nstretch=2\ndirection='at most'\nmeasures=''", "easier"),
        (2 * "[[goal]]\nname='a.b'\nmust=1\nstretch=1\ndirection='at most'\nmeasures=''\n", "twice"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "budgets.toml").write_text(text)
    with pytest.raises(BudgetError, match=says):
        read_budgets(tmp_path / "budgets.toml")


def test_every_budget_belongs_to_a_group() -> None:
    budgets = read_budgets(BUDGETS)
    assert budgets
    assert {one.group for one in budgets} <= {group.name for group in GROUPS}


def test_every_benchmark_is_in_a_group() -> None:
    names = {group.name for group in GROUPS}
    assert {path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py")} <= names


def test_long_groups_run_only_when_they_are_named() -> None:
    assert "memory" not in [group.name for group in chosen([])]
    assert [group.name for group in chosen(["memory"])] == ["memory"]
    with pytest.raises(KeyError):
        chosen(["nothing"])


def test_the_runner_prints_a_table_and_writes_what_it_was_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pacing", "--runs", "2", "--json", str(tmp_path / "out.json")]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["median", "min", "max", "unit", "n"]
    assert first.startswith("pacing.free") and first.split()[-1] == "2"
    written = json.loads((tmp_path / "out.json").read_text())
    assert [line["name"] for line in written["lines"]] == ["pacing.free", "pacing.limited"]


def test_an_unknown_group_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transprot"])
    assert ended.value.code == 2
    assert "transprot" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run", "words", "says"),
    [
        (gate.main, ["payload", "nosuch"], "no budget is in nosuch"),
        (gate.main, ["coverage", "source"], "no budget is in source"),
        (gate.main, ["payload", "--runs", "0"], "at least 1"),
        (main, ["payload", "--runs", "0"], "at least 1"),
        (main, ["payload", "--runs", "-1"], "at least 1"),
        (main, ["payload", "--json", "{}/nowhere/out.json"], "cannot be written"),
        (main, ["payload", "--json", "{}"], "cannot be written"),
        (bench_streaming.main, ["100000", "nosuch"], "no job is named nosuch"),
        (bench_streaming.main, ["0", "diff"], "at least 1"),
    ],
)
def test_what_cannot_be_measured_or_kept_is_refused_before_it_is(
    run: Callable[[list[str]], object], words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run([word.format(tmp_path) for word in words])
    told = capsys.readouterr()
    assert (stop.value.code, told.out) == (2, "")
    assert says in told.err
    assert list(tmp_path.iterdir()) == []


def test_help_is_no_run_of_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench_streaming.main(["--help"])
    assert stop.value.code == 0
    assert "from_compactv2" in capsys.readouterr().out


def test_numbers_stand_under_each_other() -> None:
    rows = table([Line("a.b", "us", [1234.5]), Line("a.long_name", "us", [0.5])]).splitlines()
    assert [row.index(" us") for row in rows[1:]] == [rows[1].index(" us")] * 2


def test_pictures_are_drawn_of_what_is_there(tmp_path: Path) -> None:
    assert draw(tmp_path) == []
    name = read_budgets(BUDGETS)[0].name
    (tmp_path / "one.json").write_text(json.dumps(as_json([Line(name, "x", [1.0, 2.0])])))
    lines = [
        Line(f"memory.mbtiles.{n}.{what}", "MB", [value])
        for n in (16_384, 1_048_576)
        for what, value in (("peak", 80.0), ("cpu", 50.0))
    ]
    (tmp_path / "memory.json").write_text(json.dumps(as_json(lines)))
    made = draw(tmp_path)
    assert [path.name for path in made] == ["ratios.svg", "memory.svg"]
    for path in made:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert name in made[0].read_text()


def test_the_table_in_the_readme_is_replaced_in_the_order_of_the_groups(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for name in ("two", "one"):
        (tmp_path / f"{name}.json").write_text(json.dumps(as_json([Line(f"{name}.x", "us", [3.0, 1.0, 2000.0])])))
    for _ in range(2):
        tell(["one", "two", "three"], tmp_path, readme)
        head, *rows, last = readme.read_text().splitlines()
        assert (head, last) == ("before", "after")
        assert [row for row in rows if ".x" in row] == [f"| {name}.x | 3 | 1 - 2,000 | us |" for name in ("one", "two")]
        assert "old" not in rows
    readme.write_text("no place")
    with pytest.raises(ValueError, match="no place"):
        tell(["one"], tmp_path, readme)


def test_the_parts_of_a_tile_add_up_to_the_whole() -> None:
    medians = {name: 2.0 / factor for _, name, factor in PARTS} | {WHOLE[1]: 1.0}
    rows = [row.split("|") for row in shares(medians)[2:-2]]
    assert sum(float(row[2]) for row in rows) == 100.0
    assert len(rows) == len(PARTS) + 1
    assert shares({}) == []
