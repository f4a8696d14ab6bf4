"""XML documents of others with some contents replaced: every other byte stays, in whatever encoding."""

from __future__ import annotations

import pytest

from harvester.caches.xml_patch import escaped, with_contents
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
