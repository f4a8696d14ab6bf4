"""XML documents of others with some contents replaced: every other byte stays, in whatever encoding."""

from __future__ import annotations

import pytest

from harvester.caches.xml_patch import escaped, with_contents, with_elements
from harvester.errors import CacheError

DOCUMENT = """<?xml version="1.0" encoding="{0}"?>
<!-- a note --><?style x?><e:Item xmlns:e='u' Culture='a>b'><guid>ä</guid><empty /><none></none>
<!-- <guid>no</guid> --><extent a="1"><xmin>1</xmin></extent><guid>second</guid></e:Item>
<!-- end -->"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_only_what_is_named_is_replaced(encoding):
    data = DOCUMENT.format(encoding).encode(encoding)
    paths = {("guid",): "ö&amp;", ("empty",): "e", ("none",): "n", ("extent", "xmin"): "-5", ("absent",): "?"}
    expected = DOCUMENT.format(encoding)
    for was, now in (
        ("<guid>ä<", "<guid>ö&amp;<"),
        ("<empty />", "<empty >e</empty>"),
        ("<none><", "<none>n<"),
        ("<xmin>1<", "<xmin>-5<"),
    ):
        expected = expected.replace(was, now)
    assert with_contents(data, paths, "a file").decode(encoding) == expected


def test_what_an_encoding_lacks_is_a_reference():
    data = DOCUMENT.format("iso-8859-1").encode("iso-8859-1")
    assert b"<guid>&#8364;&lt;</guid>" in with_contents(data, {("guid",): escaped("€<")}, "a file")


@pytest.mark.parametrize("data", [b"<a><b></a>", b"", b"no XML", b"<?xml version='1.0' encoding='klingon'?><a/>"])
def test_what_is_no_xml_is_refused(data):
    with pytest.raises(CacheError, match="a file"):
        with_contents(data, {("b",): "1"}, "a file")


LIST = """<?xml version="1.0" encoding="{0}"?>
<e:Item xmlns:e='u'><!-- <lods><lod>no</lod></lods> --><lods><!-- ä --> <lod/><!-- b --><lod a="/>"><!-- c -->1
<lod>inner</lod></lod>
<other/><e:lod><![CDATA[<lod>]]></e:lod><!-- d --></lods><lods><lod>second</lod></lods></e:Item>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_elements_are_added_and_all_that_is_there_stays(encoding):
    data = LIST.format(encoding).encode(encoding)
    added = {0: "<lod>0</lod>", 1: "<lod>ö</lod>", 2: "<lod>2</lod>", 3: "<lod>3</lod><lod>4</lod>"}
    expected = LIST.format(encoding)
    for was, now in (
        ("<lods><!-- ä", "<lods><lod>0</lod><!-- ä"),
        ("<lod/>", "<lod/><lod>ö</lod>"),
        ("</lod></lod>", "</lod></lod><lod>2</lod>"),
        ("</e:lod>", "</e:lod><lod>3</lod><lod>4</lod>"),
    ):
        assert expected.count(was) == 1
        expected = expected.replace(was, now)
    assert with_elements(data, ("lods", "lod"), added, "a file").decode(encoding) == expected
    with pytest.raises(CacheError, match="not plain XML"):
        with_elements(data[:-20], ("lods", "lod"), added, "a file")
