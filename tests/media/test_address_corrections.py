"""Web addresses that lack little."""

import pytest

from flowport.media.source_kinds import correct_address

RIGHT = "https://cdn.example.com/a/x.png?n=1#2"


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        f" {RIGHT} ",
        "https:/cdn.example.com/a/x.png?n=1#2",
        "https:///cdn.example.com/a/x.png?n=1#2",
        "https//cdn.example.com/a/x.png?n=1#2",
        "https;//cdn.example.com/a/x.png?n=1#2",
        "https: //cdn.example.com/a/x.png?n=1#2",
        "https:\\\\cdn.example.com\\a\\x.png?n=1#2",
        "htps://cdn.example.com/a/x.png?n=1#2",
        "ttps://cdn.example.com/a/x.png?n=1#2",
        "httpss://cdn.example.com/a/x.png?n=1#2",
        "https://https://cdn.example.com/a/x.png?n=1#2",
        "HTTPS://cdn.example.com/a/x.png?n=1#2",
    ],
)
def test_an_obvious_flaw_is_corrected(text: str) -> None:
    """What is meant is plain, and a refusal costs a round trip."""
    assert correct_address(text) == RIGHT


def test_an_address_without_scheme_is_completed() -> None:
    """Browsers take it."""
    assert correct_address("www.example.com/x.png") == "https://www.example.com/x.png"
    assert correct_address("www.example.com/my cup.png") == "https://www.example.com/my%20cup.png"
    assert correct_address("htp://example.com/x.png") == "http://example.com/x.png"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/folder/www.example.com/x.png",
        "www.example",
        "example.com/x.png",
        "https",
        "https://localhost/x.png",
        "https://example.com/my cup.png",
        "https://example.com\\@evil.example/x.png",
        "https://a.example https://b.example",
        "last",
        "run:abc#1",
        "data:image/png;base64,AAAA",
        "file:///x.png",
        "https:/x",
        "stp://example.com/x",
        "https://a.example/x\nhttps://b.example/y",
        "C:\\x.png",
    ],
)
def test_any_other_text_stays_as_it_is(text: str) -> None:
    """Paths, results and two addresses in one text are no flaw."""
    assert correct_address(text) == text
