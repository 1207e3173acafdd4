"""Numbers and yes or no as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.catalog.readings import Reading, TwoReadings, read_flag, read_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0,4", 0.4),
        (" 0,4 ", 0.4),
        ("-0,5", -0.5),
        ("+0,5", 0.5),
        (",5", 0.5),
        ("12,50", 12.5),
        ("0,400", 0.4),
        ("1234,567", 1234.567),
        ("1,5e3", 1500.0),
        ("1.234", 1.234),
        ("1.234,5", 1234.5),
        ("1,234.5", 1234.5),
        ("1,234,567", 1234567),
        ("1.234.567", 1234567),
        ("1.234.567,25", 1234567.25),
        ("1 234", 1234),
        ("1 234,5", 1234.5),
        ("1\u00a0234,5", 1234.5),
        ("1\u202f234", 1234),
        ("1'234.5", 1234.5),
        ("1\u2019234", 1234),
        ("\u22125", -5),
        ('"0,4"', 0.4),
        ("\u201c5\u201d", 5),
        ("5", 5),
        ("5.", 5.0),
        ("-.5e1", -5.0),
    ],
)
def test_what_can_mean_one_number_is_that_number(text: str, number: float) -> None:
    """Half the world writes a decimal comma (actualbudget/actual#1769)."""
    found = read_number(text)
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize(("text", "first", "second"), [("1,234", "1234", "1.234"), ("-12,500", "-12500", "-12.500")])
def test_a_comma_before_three_digits_can_mean_two_numbers(text: str, first: str, second: str) -> None:
    """Which of them would be a guess, and each is paid for."""
    assert read_number(text) == TwoReadings(first, second)


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "1,", "1,2,3", "12,34,567", "1.2.3", "1,234,5", "1 23", "40%", "5 px", "1_000", "\u0663", "1/2"),
        *("ten", "0x10", "nan", "inf", "1,234.567,8", "01,234,567", "9" * 401, "--5", "5-", '"', '"5'),
    ],
)
def test_what_is_not_a_number_is_not_read(text: str) -> None:
    """Python reads more than people mean."""
    assert read_number(text) is None


@given(st.integers(-(10**12), 10**12), st.integers(0, 99), st.sampled_from([",", ".", " ", "'", "\u202f"]))
def test_grouped_digits_are_the_number_that_was_grouped(whole: int, part: int, mark: str) -> None:
    """Whatever program wrote them."""
    point = "." if mark == "," else ","
    grouped = f"{whole:,}".replace(",", mark)
    expected: Reading = float(f"{whole}.{part:02}")
    assert read_number(f"{grouped}{point}{part:02}") == expected


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (
            (
                "true",
                "TRUE",
                " yes ",
                "Y",
                "on",
                "1",
                "1.0",
                "ja",
                "Oui",
                "WAHR",
                "VRAI",
                "s\u00ed",
                "\u2713",
                '"true"',
            ),
            True,
        ),
        (("false", "No", "n", "off", "0", "nein", "FALSCH", "FAUX", "non", "\u5426", "'no'"), False),
        (("", "2", "perhaps", "x", "null", "yes and no", "01"), None),
    ],
)
def test_words_for_yes_and_no(words: tuple[str, ...], flag: bool | None) -> None:
    """Spreadsheets write TRUE in the language of their user."""
    assert [read_flag(word) for word in words] == [flag] * len(words)


@pytest.mark.parametrize(
    ("text", "number"), [("\uff10\uff0e\uff14", 0.4), ("\uff0d\uff13", -3), ("'0,4", 0.4), ("'12", 12)]
)
def test_a_number_may_be_wide_or_kept_as_text(text: str, number: float) -> None:
    """Keyboards for Chinese and Japanese write wide digits, spreadsheets an apostrophe before what is to stay text."""
    assert read_number(text) == number


@pytest.mark.parametrize(
    "word",
    ["PRAWDA", "PRAVDA", "IGAZ", "DO\u011eRU", "\u0418\u0421\u0422\u0418\u041d\u0410", "SANT", "TOSI", "1,0", "'true"],
)
def test_a_spreadsheets_own_word_for_true_is_yes(word: str) -> None:
    """Each writes the words of its language into a table."""
    assert read_flag(word) is True


@pytest.mark.parametrize(
    "word",
    ["FA\u0141SZ", "NEPRAVDA", "HAMIS", "YANLI\u015e", "\u041b\u041e\u0416\u042c", "FALSKT", "EP\u00c4TOSI", "0,0"],
)
def test_a_spreadsheets_own_word_for_false_is_no(word: str) -> None:
    """Each writes the words of its language into a table."""
    assert read_flag(word) is False
