"""How `search` and `compare` show themselves in a notebook: cards and a chart, of text that is only text."""

from __future__ import annotations

import pickle
import re
import xml.etree.ElementTree as ET

import sqlrag
from sqlrag.results import Comparison, Hits
from sqlrag.text import Document
from tests.conftest import database_path

Q = "why do bees dance?"


def svg_of(html: str) -> ET.Element:
    """Return the chart in it, which is well-formed."""
    return ET.fromstring(html[html.index("<svg") :])


def test_a_search_shows_itself(passages):
    """Each hit is a card with its movement, the words that match and its score; and the result is a list as ever."""
    hits = passages.search(Q)
    html = hits._repr_html_()
    assert html.count("<article") == len(svg_of(html).findall("{*}g")) == 3
    assert f"{hits[0].score:.4f}" in html
    assert re.search("<b [^>]*>dances?</b>", html)
    assert hits == list(hits)
    assert pickle.loads(pickle.dumps(hits)) == hits
    assert pickle.loads(pickle.dumps(hits))._repr_html_() == html
    assert "No hits" in Hits()._repr_html_()


def test_a_comparison_shows_itself(passages):
    """The cards are the hits, and the chart has all candidates, what was pushed out in another colour."""
    comparison = passages.compare(Q, top_n=4)
    html = comparison._repr_html_()
    assert html.count("<article") == 4
    chart = svg_of(html)
    assert len(chart.findall("{*}g")) == 25
    assert len(chart.findall(".//*[@stroke-dasharray='5 3']")) == len(comparison.pushed_out)
    assert Comparison(Q, 25, 4, list(comparison.candidates))._repr_html_().count("<article") == 4


def test_texts_are_texts(engine, tmp_path):
    """Nothing of a document becomes an element, an attribute or a control character."""
    attack = "<script>alert(1)</script> \" onload=x ' & \u202egpj.exe \x1b[31m"
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        db.ingest([Document(f"javascript:{attack}", attack, f"attack {attack}", {}, "hash")])
        comparison = db.compare(f"attack {attack}", top_k=1, top_n=1)
    html = comparison._repr_html_()
    ET.fromstring(f"<div>{html.replace('&ensp;', ' ')}</div>")
    assert "<script" not in html
    assert "href" not in html
    assert not set(html) & set("\u202e\x1b")
    assert "alert(1)" in html
