"""Job files: every key reaches the job, and everything wrong is said with file, key and remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harvester.errors import UsageError
from harvester.job import AoiFile, Auth, Job, Limits, Policy

SOURCE = 'source = "https://gis.example.org/arcgis/rest/services/Streets/MapServer"\n'

WHOLE = (
    SOURCE
    + """
output = "streets.tpkx"
mode = "overwrite"
format = "tpkx"
dedup = true
hash = true
shard = "2/5"
report = "out/report.json"
ca_bundle = "ca.pem"
proxy = "http://proxy.example.org:8080"
allow_hosts = ["tiles1.example.org", "tiles2.example.org"]
contact = "maps@example.org"
tilemap = "off"
no_extent = true
placeholders = ["0123456789abcdef0123456789abcdef"]

[[policy]]
lods = "0-9"
aoi = "state.geojson"

[[policy]]
min_scale = 577790.554289
max_scale = 4513.988705
aoi = ["project.gpkg:boundary", "more.shp"]
aoi_where = "kind = 'a'"
buffer = 250

[[policy]]
scales = [5000, "2500;1250.5"]
bbox = [170, -20, -170, -10]

[[policy]]
lods = [3, "5-7"]
bbox = "10,50,11,51"

[[policy]]
lods = 4

[[policy]]
min_zoom = 3
max_zoom = 9

[limits]
concurrency = 16
rate = 200
retries = 3
timeout = 45
max_tiles = 1000
max_duration = "2h"
max_bytes = "10GB"
give_up_after = "5m"

[auth]
username = "me"
password_env = "GIS_PASSWORD"

[headers]
Referer = "https://gis.example.org"
X-Key = { env = "GIS_KEY" }
"""
)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "job.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, text: str | bytes) -> UsageError:
    path = written(folder, text)
    with pytest.raises(UsageError) as caught:
        Job.from_file(path)
    assert str(path) in caught.value.message
    return caught.value


def test_every_field_of_a_job_can_be_said_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIS_KEY", "k1")
    (tmp_path / "project.gpkg").touch()
    job = Job.from_file(written(tmp_path, WHOLE))
    assert job == Job(
        source="https://gis.example.org/arcgis/rest/services/Streets/MapServer",
        output=tmp_path / "streets.tpkx",
        format="tpkx",
        mode="overwrite",
        dedup=True,
        hash=True,
        shard=(2, 5),
        report=tmp_path / "out/report.json",
        policies=(
            Policy(lods=((0, 9),), aoi=(AoiFile(path=tmp_path / "state.geojson"),)),
            Policy(
                min_scale=577790.554289,
                max_scale=4513.988705,
                aoi=(
                    AoiFile(path=tmp_path / "project.gpkg", layer="boundary", where="kind = 'a'"),
                    AoiFile(path=tmp_path / "more.shp", where="kind = 'a'"),
                ),
                buffer_metres=250.0,
            ),
            Policy(scales=(5000.0, 2500.0, 1250.5), bbox=(170, -20, -170, -10)),
            Policy(lods=((3, 3), (5, 7)), bbox=(10, 50, 11, 51)),
            Policy(lods=((4, 4),)),
            Policy(min_zoom=3, max_zoom=9),
        ),
        limits=Limits(
            concurrency=16,
            rate=200.0,
            retries=3,
            timeout_seconds=45.0,
            max_tiles=1000,
            max_duration_seconds=7200.0,
            max_bytes=10**10,
            give_up_after_seconds=300.0,
        ),
        auth=Auth(username="me", password_env="GIS_PASSWORD"),
        headers={"Referer": "https://gis.example.org", "X-Key": "k1"},
        ca_bundle=tmp_path / "ca.pem",
        proxy="http://proxy.example.org:8080",
        allow_hosts=("tiles1.example.org", "tiles2.example.org"),
        contact="maps@example.org",
        tilemap=False,
        use_extent=False,
        placeholders=("0123456789abcdef0123456789abcdef",),
    )
    default = Job(source="x")
    said = {item.name for item in dataclasses.fields(Job)} - {"output_is_folder"}
    same = [name for name in said if getattr(job, name) == getattr(default, name)]
    assert same == []  # nothing above says what a job is anyway


def test_the_source_alone_is_a_job(tmp_path: Path) -> None:
    job = Job.from_file(written(tmp_path, SOURCE))
    assert job == Job(source="https://gis.example.org/arcgis/rest/services/Streets/MapServer")


def test_a_source_file_is_relative_to_the_job_file(tmp_path: Path) -> None:
    assert Job.from_file(written(tmp_path, 'source = "webmap.json"')).source == str(tmp_path / "webmap.json")


def test_an_output_that_ends_in_a_separator_is_a_folder(tmp_path: Path) -> None:
    job = Job.from_file(written(tmp_path, SOURCE + 'output = "cache.v2/"'))
    assert (job.output, job.output_is_folder, job.format) == (tmp_path / "cache.v2", True, None)
    assert job.with_options(output="other").output_is_folder is False
    assert job.with_options(output="other.v2/").output_is_folder is True


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_files_of_windows_editors_are_read(tmp_path: Path, encoding: str) -> None:
    text = SOURCE + 'output = "Straße.tpkx"\r\n'
    job = Job.from_file(written(tmp_path, text.encode(encoding)))
    assert job.output == tmp_path / "Straße.tpkx"


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("concurency = 3", "unknown key 'concurency'", "concurrency in [limits]"),
        ("concurrency = 3", "unknown key 'concurrency'", "belongs in [limits]"),
        ("[limits]\nrates = 3", "[limits]: unknown key 'rates'", "Did you mean rate?"),
        ("[limits]\naoi = 3", "[limits]: unknown key 'aoi'", "[[policy]]"),
        ("[[policy]]\noutput = 'x'", "policy 1: unknown key 'output'", "top of the file"),
        ("[[policy]]\nlevels = '3'", "unknown key 'levels'", "Did you mean lods?"),
        ("[[policy]]\n[[policy]]\nzzzzz = 1", "policy 2: unknown key 'zzzzz'", "lods"),
        ("url = 3", "unknown key 'url'", "Did you mean source?"),
        ("[policies]\nlods = 1", "unknown key 'policies'", "policy"),
        ("[auth]\ntoken = 'abc'", "would be a secret", "token_env"),
        ("[auth]\npassword = 'abc'", "would be a secret", "token_env"),
        ("token = 'abc'", "would be a secret", "token_env"),
    ],
)
def test_an_unknown_key_names_the_nearest_one_of_any_table(tmp_path: Path, text: str, said: str, hint: str) -> None:
    error = refused(tmp_path, SOURCE + text)
    assert said in error.message and hint in error.hint
    assert "abc" not in error.message + error.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mode = 'replace'", "mode: there is no mode 'replace'"),
        ("mode = 3", "mode: must be a text, not a number"),
        ("format = 'tiff'", "format: there is no format 'tiff'"),
        ("dedup = 1", "dedup: must be true or false"),
        ("shard = '6/5'", "shard: there is no shard 6/5"),
        ("output = ''", "output: is empty"),
        ("tilemap = 'on'", "tilemap"),
        ("proxy = 'proxy:80'", "proxy"),
        ("placeholders = ['xyz']", "placeholders"),
        ("policy = 3", "policy is a list of tables"),
        ("policy = []", "policy"),
        ("limits = 3", "limits is a table"),
        ("headers = 3", "[headers]: must be a table"),
        ("no_extent = true\nallow_host = 'a'\nallow_hosts = ['b']", "are the same"),
        ("[[policy]]\nlods = '3'\nscales = [5000]", "policy 1: lods and scales"),
        ("[[policy]]\nlods = '3'\nmin_zoom = 1", "policy 1: lods and min_zoom"),
        ("[[policy]]\nmin_scale = 5000\nmin_zoom = 1", "min_scale, max_scale and min_zoom, max_zoom"),
        ("[[policy]]\naoi = 'a'\nbbox = '0,0,1,1'", "policy 1: aoi and bbox"),
        ("[[policy]]\nlods = true", "policy 1: lods: must be a whole number, not true or false"),
        ("[[policy]]\nlods = [[1]]", "policy 1: lods: must be a whole number, not a list"),
        ("[[policy]]\nlods = []", "empty list"),
        ("[[policy]]\nlods = '12-3'", "backwards"),
        ("[[policy]]\nscales = [0]", "above 0"),
        ("[[policy]]\nscales = [nan]", "above 0"),
        ("[[policy]]\nmin_scale = inf", "above 0"),
        ("[[policy]]\nmin_scale = 1000\nmax_scale = 5000", "is below max_scale"),
        ("[[policy]]\nmin_zoom = 9\nmax_zoom = 3", "is above max_zoom"),
        ("[[policy]]\nbbox = [1, 2, 3]", "four numbers"),
        ("[[policy]]\nbbox = 3", "bbox: must be a list"),
        ("[[policy]]\naoi = []", "aoi: an empty list"),
        ("[[policy]]\naoi = 3", "aoi: must be a text"),
        ("[[policy]]\nbuffer = 250", "no AOI to grow"),
        ("[[policy]]\nbbox = '0,0,1,1'\nbuffer = inf", "buffer"),
        ("[[policy]]\naoi_layer = 'x'", "need an aoi"),
        ("[limits]\nconcurrency = 0", "concurrency: 0"),
        ("[limits]\nconcurrency = 1025", "concurrency: 1025"),
        ("[limits]\nconcurrency = 1.5", "[limits] concurrency: must be a whole number, not 1.5"),
        ("[limits]\nrate = 0", "rate: 0.0"),
        ("[limits]\nrate = '200'", "[limits] rate: must be a number, not a text"),
        ("[limits]\nretries = -1", "retries: -1"),
        ("[limits]\nmax_tiles = 0", "max_tiles: 0"),
        ("[limits]\nmax_duration = '2x'", "[limits] max_duration: not a duration"),
        ("[limits]\nmax_bytes = 'many'", "[limits] max_bytes: not a number of bytes"),
        ("[limits]\ntimeout = 0", "timeout: a duration must be above 0"),
        ("[auth]\ntoken_env = 'not a name!'", "token_env: not the name of an environment variable"),
        ("[auth]\nusername = 'me'", "password_env is missing"),
        ("[auth]\ntoken_env = 'A'\nusername = 'me'\npassword_env = 'B'", "two ways to log in"),
        ("[headers]\nHost = 'x'", "[headers]"),
        ("[headers]\nX = 3", "[headers]: X: must be a text"),
        ("[headers]\nX = { env = 'NO_SUCH_VARIABLE_HERE' }", "NO_SUCH_VARIABLE_HERE"),
    ],
)
def test_a_bad_value_names_its_key(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, SOURCE + text).message


def test_scales_the_wrong_way_round_show_the_swap(tmp_path: Path) -> None:
    error = refused(tmp_path, SOURCE + "[[policy]]\nmin_scale = 1000\nmax_scale = 5000")
    assert "min_scale 5000, max_scale 1000?" in error.hint


def test_scales_equal_within_a_thousandth_are_not_the_wrong_way_round() -> None:
    assert Policy(min_scale=4999.5, max_scale=5000).min_scale == 4999.5


@pytest.mark.parametrize(
    "source", ["https://h/MapServer?token=s3cret", "https://me:s3cret@h/MapServer", "https://h/MapServer?TOKEN=s3cret"]
)
def test_a_secret_in_the_source_of_a_file_is_refused_and_not_shown(tmp_path: Path, source: str) -> None:
    error = refused(tmp_path, f'source = "{source}"')
    assert "token_env" in error.hint and "s3cret" not in error.message + error.hint


def test_a_secret_given_as_the_name_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, SOURCE + "[auth]\ntoken_env = 's3cret-token.x'")
    assert "s3cret" not in error.message + error.hint


def test_a_login_in_a_proxy_is_refused_and_not_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, SOURCE + 'proxy = "http://me:s3cret@proxy:80"')
    assert "HTTPS_PROXY" in error.hint and "s3cret" not in error.message + error.hint


def test_secrets_do_not_show_in_a_jobs_repr() -> None:
    job = Job(source="https://h/?token=s3cret", headers={"X-Key": "s3cret"}, proxy="http://me:s3cret@p")
    assert "s3cret" not in repr(job)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source = ", "line 1"),
        (SOURCE + "\n\nx == 3", "line 4"),
        ("[" * 100_000, "job.toml"),
        ("", "source is missing"),
        ("source = 3", "source: must be a text"),
    ],
)
def test_what_is_no_job_file_says_where(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text).message


def test_a_windows_path_in_double_quotes_gets_the_remedy(tmp_path: Path) -> None:
    assert "single quotes" in refused(tmp_path, SOURCE + r'output = "C:\maps\x.tpkx"').hint
    assert "single quotes" in refused(tmp_path, SOURCE + r'output = "C:\users\x.tpkx"').hint


def test_a_missing_job_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        Job.from_file(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        Job.from_file(tmp_path)


# ---------------------------------------------------------------------------------------------- overrides


def test_options_override_what_the_file_says() -> None:
    job = Job(source="s", headers={"Referer": "a", "X": "1"}, allow_hosts=("h",), limits=Limits(rate=5.0))
    changed = job.with_options(
        output="o.mbtiles", concurrency=4, timeout_seconds=None, headers={"referer": "b"}, allow_hosts=("i",), mode=None
    )
    assert changed.output == Path("o.mbtiles") and changed.mode == "merge"
    assert changed.limits == Limits(rate=5.0, concurrency=4)
    assert changed.headers == {"referer": "b", "X": "1"} and changed.allow_hosts == ("h", "i")
    assert job.with_options() == job


def test_a_token_replaces_a_login_and_the_other_way_round() -> None:
    login = Job(source="s", auth=Auth(username="me", password_env="P"))
    assert login.with_options(token_env="T").auth == Auth(token_env="T")
    assert login.with_options(username="you").auth == Auth(username="you", password_env="P")
    token = Job(source="s", auth=Auth(token_env="T"))
    assert token.with_options(username="me", password_env="P").auth == Auth(username="me", password_env="P")


def test_the_selection_is_no_option() -> None:
    with pytest.raises(TypeError, match="policies"):
        Job(source="s").with_options(policies=())
    with pytest.raises(UsageError, match="concurrency"):
        Job(source="s").with_options(concurrency=0)


def test_an_output_override_that_ends_in_a_separator_is_a_folder_unless_a_format_is_named() -> None:
    for job in (
        Job(source="s").with_options(output="x.y/"),
        Job(source="s").with_options(output="x.y/", format="xyz"),
        Job(source="s", format="xyz").with_options(output="x.y/"),
    ):
        assert job.output_is_folder
    assert [job.format for job in (Job(source="s").with_options(output="x.y/"), job)] == [None, "xyz"]


@pytest.mark.parametrize(
    "text",
    [
        "[policy]\nlods = 1",
        "[policy]\nlods = 1\n[policy]\nlods = 2",
        "[[policy]]\nlods = 1\n[policy]\nlods = 2",
        "[policy]\nlods = 1\n[[policy]]\nlods = 2",
        "[[policy]\nlods = 1",
        "[policy]]\nlods = 1",
        "policy = { lods = 1 }",
        "policy = [1]",
    ],
)
def test_a_policy_in_single_brackets_is_refused_and_shown_in_double_ones(tmp_path: Path, text: str) -> None:
    assert "[[policy]]" in refused(tmp_path, SOURCE + text).hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (r'output = "C:\maps\out.tpkx"', "single quotes: 'C:"),
        (r'output = "C:\temp\new.tpkx"', "single quotes: 'C:"),
        (r'report = "C:\temp\new.json"', "single quotes: 'C:"),
        ('[[policy]]\naoi = "C:\\temp\\new.gpkg"', "single quotes: 'C:"),
        ('[[policy]]\naoi = ["a.gpkg", "C:\\temp\\new.gpkg"]', "single quotes: 'C:"),
        ("output = maps/out.tpkx", "quotes, and lists in brackets: output = "),
        ("output = “out.tpkx”", "straight quotes"),
        ("[[policy]]\nlods = 0-9", "quotes, and lists in brackets: lods = "),
        ("[[policy]]\nscales = 577790.554289;288895.277144", "quotes, and lists in brackets: scales = "),
        ("[[policy]]\nlods = 1\nlods = 2", "there twice"),
        ("[limits]\nrate = '200'", "without quotes"),
        ("output = 3", "in quotes"),
    ],
)
def test_what_people_mistype_in_toml_is_told_with_the_remedy(tmp_path: Path, text: str, hint: str) -> None:
    error = refused(tmp_path, SOURCE + text)
    assert hint in error.hint, error.hint


@pytest.mark.parametrize("path", [r"C:\temp\new.tpkx", "C:/temp/new.tpkx"])
def test_windows_paths_in_single_quotes_or_with_slashes_are_read_as_they_stand(tmp_path: Path, path: str) -> None:
    job = Job.from_file(written(tmp_path, SOURCE + f"output = '{path}'"))
    assert str(job.output).endswith(path)
