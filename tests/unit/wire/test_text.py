"""Text of somebody else: nothing of it reaches a screen unseen."""

import sys
import unicodedata

import pytest
from pydantic import TypeAdapter, ValidationError

from genepool_protocol.trust.events import Reason
from genepool_protocol.wire import text
from genepool_protocol.wire.errors import GenepoolError

HOSTILE = {
    "OSC 52 puts a text into the clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "a line is erased": "\x1b[2K\r",
    "C1 begins a sequence, too": "\x9b2J\x9d0;title\x9c",
    "DEL": "\x7f",
    "a new line": "\nstate: ACTIVE",
    "a vertical tab": "\x0b\x0c\x85",
    "Unicode line ends": "\u2028\u2029",
    "bidirectional controls": "\u202eevitca\u202c\u2066\u2069\u200e\u200f\u061c",
    "zero width": "\u200b\u200c\u200d\u2060\ufeff",
    "tags and variation selectors": "\U000e0041\ufe0f\U000e0100",
    "invisible letters": "\u3164\u115f\u2800\u034f",
    "spaces that are none": "\u00a0\u2003",
    "surrogates and private letters": "\ud800\ue000",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_does_not_show_is_shown(name):
    line = text.shown(f"before{HOSTILE[name]}after")
    assert line.isprintable()
    assert line.startswith("before\\")
    assert line.endswith("after")
    assert not text.is_printable(HOSTILE[name])


@pytest.mark.parametrize("line", ["Grüße, 東京, עברית, हिन्दी, ✓ 😀", "[b]not mark-up[/b] :smile:", "C:\\temp", ""])
def test_what_shows_stays_as_it_is(line):
    assert text.shown(line) == line


def test_no_control_or_format_character_is_left_out():
    bad = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    left = [n for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) in bad and text.is_printable(chr(n))]
    assert left == []
    assert text.shown("\x1b\n\u202e\U000e0041") == "\\x1b\\n\\u202e\\U000e0041"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_reason_and_a_note_must_be_printable(name):
    with pytest.raises(ValidationError):
        TypeAdapter(Reason).validate_python(f"because{HOSTILE[name]}")
    with pytest.raises(GenepoolError) as caught:
        text.require(HOSTILE[name], "the note")
    assert caught.value.reason == "FILE_MALFORMED"
    assert caught.value.message.isprintable()
    assert TypeAdapter(Reason).validate_python("consent ended, Müller") == "consent ended, Müller"
