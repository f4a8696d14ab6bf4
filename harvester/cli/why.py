"""``harvester why``: which policy planned this tile, what was asked, what came, why it is or isn't there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harvester.cli.common import Common
from harvester.cli.frame import show, show_json, verb
from harvester.cli.tile import parse_address
from harvester.wording import box_words, counted, with_detail

if TYPE_CHECKING:
    from harvester.why import Account


@verb(
    "why",
    example="harvester why streets.mbtiles 12/1546/856",
)
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path, readable=False))
@click.argument("address", metavar="LEVEL/ROW/COL")
def command(common: Common, output: Path, address: str) -> int:
    """Tell which policy planned a tile (the source's level, row and column), what was asked, what came, and why it is
    or isn't in the cache. Nothing is asked now."""
    tile = parse_address(address)
    from harvester.why import why

    account = why(output, tile)
    if common.json:
        show_json(account.to_dict())
    else:
        for line in account_lines(account):
            show(line)
    return 0


def account_lines(account: Account) -> list[str]:
    """What ``why`` shows a person."""
    from harvester.why import explanation

    rows = [("planned by", text) for text in _planned(account).split("\n")]
    if account.url is not None:
        rows.append(
            (
                "asked" if account.reason or account.state.name not in ("PENDING", "UNPLANNED") else "address",
                account.url,
            )
        )
    elif account.has_ledger and account.unplanned is None:
        rows.append(("asked", "the address of tiles of this LOD is not kept"))
    rows.append(("came", _came(account)))
    rows.append(("in the cache", _held(account)))
    if account.unplanned is not None and account.has_ledger:
        rows.append(("LODs planned", _ranges(account.unplanned.levels)))
        if account.unplanned.nearby:
            over = ", ".join(f"{tile} {state.name.lower()}" for tile, state in account.unplanned.nearby)
            rows.append(("in its place", over))
    box = box_words(account.box, degrees=account.degrees)
    state = account.state.name.lower()
    if not account.has_ledger:
        state = "present" if account.held else "not there"
    lines = [
        f"{account.tile}  LOD {account.lod.level}, 1:{account.lod.scale:,.0f}, box {box}",
        f"{state}: {explanation(account)}",
    ]
    last = ""
    for name, text in rows:
        if text:
            lines.append(f"  {'' if name == last else name:<13} {text}".rstrip())
            last = name
    return lines


def _ranges(levels: tuple[int, ...]) -> str:
    """``0-5, 7``: ascending numbers, neighbours joined."""
    ranges: list[list[int]] = []
    for level in levels:
        if ranges and level == ranges[-1][1] + 1:
            ranges[-1][1] = level
        else:
            ranges.append([level, level])
    return ", ".join(f"{low}-{high}" if low < high else str(low) for low, high in ranges) or "none"


def _planned(account: Account) -> str:
    if not account.has_ledger:
        return "not known: there is no ledger"
    if account.unplanned is not None:
        return "no policy"
    if not account.planned_by:
        return "not known: the ledger does not keep the policies of that job"
    texts: dict[str, list[str]] = {}
    for planner in account.planned_by:
        sure = "" if planner.certain else "perhaps "
        runs = f"run {planner.first_run}"
        if planner.last_run != planner.first_run:
            runs = f"runs {planner.first_run}-{planner.last_run}"
        shard = "" if planner.shard is None else f", shard {planner.shard[0]}/{planner.shard[1]}"
        policy = f"{sure}policy {planner.number} of {planner.of}: {planner.words}"
        texts.setdefault(policy, []).append(runs + shard)
    return "\n".join(f"{policy} ({'; '.join(runs)})" for policy, runs in texts.items())


def _came(account: Account) -> str:
    state = account.state.name
    runs = "" if not account.fetching_runs else _runs_words(account.fetching_runs)
    if state == "FAILED":
        where = "" if account.failed_in is None else f", in run {account.failed_in}"
        tries = "" if account.tries is None else f" (up to {counted(account.tries, 'try')} a run)"
        reason = with_detail(account.reason, account.detail) if account.reason else "the reason was not kept"
        return f"{reason}{where}{tries}"
    if state in ("STORED", "UNCHANGED") and account.has_ledger:
        return f"a whole tile, in {runs}" if runs else "it was in the cache before the first run"
    if state == "ABSENT":
        return "no such tile"
    if state == "UNPLANNED":
        return ""
    if account.reason is not None:
        return f"{with_detail(account.reason, account.detail)}, in run {account.tried_in}"
    if account.denied is not None:
        return f"word that it is not there, in run {account.denied.run}; it was not asked itself"
    return "nothing yet" if account.untried else "no answer is on record"


def _runs_words(runs: tuple[int, ...]) -> str:
    if len(runs) == 1:
        return f"run {runs[0]}"
    return f"one of the runs {', '.join(map(str, runs))}"


def _held(account: Account) -> str:
    held = account.held
    if held is None:
        return "no"
    size = "" if held.width is None else f", {held.width} x {held.height} px"
    there = "" if held.address == account.tile else f", its {held.address}"
    trouble = "" if held.trouble is None else f", damaged: {held.trouble}"
    return (
        f"{counted(held.bytes, 'byte')}{' of ' + held.kind if held.kind else ''}{size} in {held.where}{there}{trouble}"
    )
