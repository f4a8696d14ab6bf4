"""The lanes and aiohttp, asked by the same requests, say the same of what a server sends, whole or broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from harvester.edges import Answer, Fault, Host, Request, Transport
from harvester.tiling.tile import Tile
from harvester.transport.access import Access
from harvester.transport.lane import MORE
from harvester.transport.lanes import LaneTransport
from harvester.transport.pieces import NO_ANSWER
from harvester.transport.session import SessionTransport
from tests.transport.answers import Spoken, spoken

ACCESS = Access(timeout_seconds=1.0, environ={})
SIDE_BY_SIDE = 4
BROKEN = frozenset({Fault.PROTOCOL, Fault.TRUNCATED, Fault.RESET})


async def serve(scripts: list[Spoken], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say script n to ``GET /n``."""
    try:
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            script = scripts[int(asked.split(b" ", 2)[1][1:])]
            for piece in script.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if script.closes:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def ask_all(make: Callable[[], Transport], port: int, count: int) -> list[Answer]:
    """The answers to ``GET /0`` and so on, each over a connection of its own, so that none can touch the next."""
    host = Host(scheme="http", name="127.0.0.1", port=port)
    answers: dict[int, Answer] = {}

    async def ask_some(first: int) -> None:
        transport = make()
        requests = iter([Request(host, f"/{at}", Tile(1, 0, at)) for at in range(first, count, SIDE_BY_SIDE)])

        def done(request: Request, answer: Answer) -> None:
            assert request.tile.col not in answers, "one answer each"
            answers[request.tile.col] = answer
            transport.rebuild()

        try:
            await transport.drain(lambda: next(requests, None), done)
        finally:
            await transport.close()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for first in range(SIDE_BY_SIDE):
            group.create_task(ask_some(first))
    return [answers[at] for at in range(count)]


def both(scripts: list[Spoken]) -> tuple[list[Answer], list[Answer]]:
    async def main() -> tuple[list[Answer], list[Answer]]:
        server = await asyncio.start_server(
            lambda reader, writer: serve(scripts, reader, writer), "127.0.0.1", 0, backlog=100
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            ours = await ask_all(lambda: LaneTransport(ACCESS, connections=1), port, len(scripts))
            theirs = await ask_all(lambda: SessionTransport(ACCESS, connections=1), port, len(scripts))
        return ours, theirs

    return asyncio.run(main())


def difference(script: Spoken, ours: Answer, theirs: Answer) -> str:
    """What differs between two answers, in words; nothing where both mean the same."""
    if ours.fault or theirs.fault:
        told = f"fault {ours.fault} ({ours.detail}), not {theirs.fault} ({theirs.detail})"
        return "" if ours.fault == theirs.fault or may_fail(script, ours, theirs) else told
    for field in ("status", "body"):
        if getattr(ours, field) != getattr(theirs, field):
            return f"{field} {getattr(ours, field)!r:.80}, not {getattr(theirs, field)!r:.80}"
    if dict(ours.headers) != dict(theirs.headers):
        return f"headers {dict(ours.headers)}, not {dict(theirs.headers)}"
    if (ours.delimited and not theirs.delimited) or (theirs.delimited > ours.delimited and is_legal(script)):
        return f"delimited {ours.delimited}, not {theirs.delimited}"
    return ""


def is_legal(script: Spoken) -> bool:
    """Whole, or cut: HTTP says what a client must see."""
    return script.made_by.startswith(("whole:", "cut:"))


def may_fail(script: Spoken, ours: Answer, theirs: Answer) -> bool:
    """Where two clients may see broken bytes differently."""
    if is_legal(script):
        return False
    if b"\0" in b"".join(script.pieces).partition(b"\r\n\r\n")[0]:
        return Fault.PROTOCOL in (ours.fault, theirs.fault)
    if ours.fault is None:  # a server's last word before it closes, behind a whole answer; aiohttp refuses the answer
        return theirs.fault is Fault.PROTOCOL and theirs.detail.startswith(
            ("Bad status line", "Data after", "Invalid HT")
        )
    if theirs.fault is None:  # a status below 200 was made of another; aiohttp takes the first of two answers
        return ours.detail in (NO_ANSWER, MORE) or "pgrade" in ours.detail
    return ours.fault in BROKEN and theirs.fault in {*BROKEN, Fault.TIMEOUT}  # aiohttp waits on after some bad chunks


@pytest.mark.parametrize("seed", range(3))
def test_both_transports_say_the_same_of_a_thousand_answers(seed: int) -> None:
    random = Random(seed)
    scripts = [spoken(random) for _ in range(1000)]
    ours, theirs = both(scripts)
    differences = [
        f"{script.made_by}: {words}\n  {b''.join(script.pieces)[:200]!r}"
        for script, one, other in zip(scripts, ours, theirs, strict=True)
        if (words := difference(script, one, other))
    ]
    assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:20])
    assert sum(answer.fault is None for answer in ours) > 300
    assert {Fault.TRUNCATED, Fault.PROTOCOL, Fault.RESET} <= {answer.fault for answer in ours}
