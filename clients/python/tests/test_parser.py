from __future__ import annotations

from timeback_events import Frame, SseParser

EVERYTHING = (
    "\ufeff: comment\r\nid: 1\r\nevent: grüße\r\ndata: {\"emoji\":\"🎓\"}\r\n\r\n"
    "data: one\rdata:two\rdata:  three\r\r"
    "retry: 250\nid: 2\n\n"
    "data\n\n"
    "id: bad\0id\ndata: kept id\n\n"
    "retry: soon\nretry: ²\nunknown: field\nid\ndata: no id\n\nid: 9\ndata: unfinished\n"
).encode()

EXPECTED = [
    Frame("grüße", '{"emoji":"🎓"}', "1"),
    Frame("message", "one\ntwo\n three", "1"),
    Frame("message", "", "2"),
    Frame("message", "kept id", "2"),
    Frame("message", "no id", ""),
]


def parse(*chunks: bytes) -> tuple[list[Frame], str, int | None]:
    parser = SseParser()
    frames = [frame for chunk in chunks for frame in parser.push(chunk)]
    return frames, parser.last_event_id, parser.retry_ms


def test_reads_every_field_line_end_and_oddity_of_the_standard() -> None:
    assert parse(EVERYTHING) == (EXPECTED, "", 250)


def test_reads_the_same_wherever_the_bytes_are_cut() -> None:
    for first in range(len(EVERYTHING) + 1):
        assert parse(EVERYTHING[:first], EVERYTHING[first:]) == (EXPECTED, "", 250), f"cut at {first}"
        for second in range(first, len(EVERYTHING), 7):
            chunks = EVERYTHING[:first], EVERYTHING[first:second], EVERYTHING[second:]
            assert parse(*chunks) == (EXPECTED, "", 250), f"cut at {first} and {second}"
    assert parse(*(bytes([byte]) for byte in EVERYTHING)) == (EXPECTED, "", 250), "byte by byte"


def test_gives_a_frame_as_soon_as_it_is_finished_also_by_a_cr_that_an_lf_may_follow() -> None:
    parser = SseParser()
    assert len(parser.push(b"data: a\r\r")) == 1
    assert len(parser.push(b"\ndata: b\r\n\r")) == 1
    assert parser.push(b"\n") == []


def test_an_id_without_data_moves_the_place_an_unfinished_one_does_not() -> None:
    parser = SseParser("7")
    assert parser.last_event_id == "7"
    assert parser.push(b"id: 8\n\n") == []
    assert parser.last_event_id == "8"
    parser.push(b"id: 9\ndata: x")
    assert parser.last_event_id == "8"


def test_only_one_leading_byte_order_mark_is_dropped() -> None:
    assert parse("\ufeff\ufeffdata: x\n\ndata: y\n\n".encode())[0] == [Frame("message", "y", "")]
