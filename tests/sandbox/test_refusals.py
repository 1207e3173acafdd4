"""What a refusal says."""

from starlette.requests import Request

from flowport.sandbox.web import answer_refused, get_message


async def test_a_bug_is_a_500_without_its_text() -> None:
    """As every server's: what broke is not an one's business."""
    answer = await answer_refused(Request({"type": "http"}), RuntimeError("secret"))
    assert (answer.status_code, answer.body) == (500, b'{"message":"Internal Server Error"}')


def test_a_status_without_words_has_words() -> None:
    """Even one that HTTP does not know."""
    assert (get_message(404), get_message(410), get_message(599)) == ("Not found", "Gone", "No known reason")
