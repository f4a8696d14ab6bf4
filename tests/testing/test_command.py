"""The fault server on the command line."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harvester.errors import UsageError
from harvester.testing import address_of
from harvester.testing.command import main, site_from_toml
from harvester.tiling.tile import Tile

COMMAND = [sys.executable, "-m", "harvester.testing.lab"]

SCRIPT = """
[service]
grid = "rio"
format = "JPEG"
variant = 9

[[rule]]
levels = 3
do = "status"
status = 503
"""


def test_it_prints_its_url_and_serves_the_script(tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text(SCRIPT)
    command = [*COMMAND, "--script", str(script), "--max-seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with urllib.request.urlopen(f"{url}/tile/2/5/6") as answer:
                assert address_of(answer.read()) == (Tile(2, 5, 6), 9)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{url}/tile/3/5/6")
            caught.value.close()
            assert caught.value.code == 503
        finally:
            process.terminate()


def test_it_ends_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--max-seconds", "0.01", "--seed", "3", "--log"]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


def test_what_is_wrong_ends_with_2_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--script", str(tmp_path / "none.toml")]) == 2
    script = tmp_path / "faults.toml"
    script.write_text('[[rule]]\ndo = "stal"\n')
    assert main(["--script", str(script)]) == 2
    script.write_bytes("[[rule]]\ndo = 'empty'\ntext = 'Gr\u00f6\u00dfe'\n".encode("cp1252"))
    assert main(["--script", str(script)]) == 2
    told = capsys.readouterr().err
    assert f"{script}: rule 0: do = 'stal' is not known" in told
    assert f"{script}: not UTF-8: byte 32 is 0xf6" in told
    assert "none.toml" in told
    assert "Did you mean 'stall'?" in told


def test_help_lists_every_act(capsys: pytest.CaptureFixture[str]) -> None:
    from harvester.testing.acts import ACTS

    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert all(f"\n  {name} " in told for name in ACTS)
    assert "[[rule]]" in told


def test_the_service_table_makes_a_site() -> None:
    site = site_from_toml(
        '[service]\nabsent_share = 0.25\ntokens = ["a"]\nrefusal = "html"\ntile_servers = ["x"]\ntilemap = "on"'
    )
    assert 150 < sum(site.absent(Tile(9, row, col)) for row in range(30) for col in range(30)) < 300
    assert site.office is not None
    assert site.office.tokens == {"a"}
    assert site.tile_servers == ("x",)
    for table in ('grid = "mars"', "gird = 3", 'tilemap = "perhaps"', 'refusal = "never"'):
        with pytest.raises(UsageError):
            site_from_toml("[service]\n" + table)


WRONG = {
    "a rule of one table": ('[rule]\ndo = "html"', "[[rule]]"),
    "a table of another name": ("[[rul]]", "'rule'"),
    "an act that is misspelt": ('[[rule]]\ndo = "stal"', "'stall'"),
    "a seed that is a text": ('seed = "x"', "seed is a whole number"),
    "tiles without brackets": ('[[rule]]\ndo = "html"\ntiles = "3/2/1"', "a list of texts"),
    "a share above 1": ('[[rule]]\ndo = "html"\nshare = 2', "from 0 to 1"),
    "a time that is a text": ('[[rule]]\ndo = "html"\nsince = "soon"', "since is a number"),
    "a status that is a text": ('[[rule]]\ndo = "status"\nstatus = "a"', "status is a whole number"),
    "headers that are a text": ('[[rule]]\ndo = "html"\nheaders = "a"', "a table of texts"),
    "tries that are a list": ('[[rule]]\ndo = "html"\ntries = [1]', "tries is a text"),
    "a knee that is a text": ('[capacity]\nconcurrent = "many"', "concurrent is a whole number"),
    "a knee that is no table": ("capacity = 5", "[capacity]"),
    "a service that is no table": ("service = 5", "[service]"),
    "tokens that are a number": ("[service]\ntokens = 5", "a list of texts"),
    "a format that is a number": ("[service]\nblank = 5", "true or false"),
    "a grid of no name": ('[service]\ngrid = "x"', "web-mercator"),
    "a kind of no name": ('[service]\nkind = "x"', "--help"),
    "no TOML": ("[[rule", "toml.io"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_script_that_is_wrong_ends_with_2_in_two_lines_that_say_what_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, words = WRONG[name]
    script = tmp_path / "faults.toml"
    script.write_text(text + "\n")
    assert main(["--script", str(script), "--max-seconds", "0.01"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err
    assert len(err.strip().splitlines()) == 2


def test_a_service_table_may_name_all_that_a_secured_service_has() -> None:
    text = """
        [service]
        tilemap = "on"
        version = 10.9
        tile_servers = ["http://127.0.0.1:9/x"]
        username = "me"
        portal_tokens = ["p"]
        federated = true
        uses = 3
        stand_ins = 2
        lifetime_seconds = 5
    """
    office = site_from_toml(text).office
    assert office is not None
    assert (office.federated, office.portal_tokens, office.uses, office.stand_ins) == (True, {"p"}, 3, 2)
