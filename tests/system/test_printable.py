import unicodedata

import pytest

from utils.system.printable import is_printable, printable

UNPRINTABLE = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")]
TURNING = list("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HARMLESS = "caf\u00e9 \u6d77\u99ac \u05d1\u05d9\u05ea \u0645\u062e \u200d\u200f\u00a0<&>'\"\\ \U0001f9e0"


class TestIsPrintable:
    def test_every_character(self):
        refused = [chr(code) for code in range(0x110000) if not is_printable(chr(code))]
        assert refused == sorted(UNPRINTABLE + TURNING)

    def test_one_among_many(self):
        assert is_printable(HARMLESS) and not is_printable(HARMLESS + "\x1b")


class TestPrintable:
    def test_what_can_be_shown_stays(self):
        assert printable(HARMLESS) == HARMLESS

    @pytest.mark.parametrize(
        "text, shown",
        [
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("a\r\nb", "a\\r\\nb"),
            ("\u202egnp", "\\u202egnp"),
            ("\udcff\u2028", "\\udcff\\u2028"),
            ("\x9b2J", "\\x9b2J"),
        ],
    )
    def test_what_cannot_is_shown_by_its_code(self, text, shown):
        assert printable(text) == shown

    def test_ends_of_lines_stay_where_they_may(self):
        assert printable("a\nb\rc\x1bd", lines=True) == "a\nb\\rc\\x1bd"

    def test_other_values_than_text(self):
        assert printable(ValueError("a\x00")) == "a\\x00" and printable(3) == "3"
