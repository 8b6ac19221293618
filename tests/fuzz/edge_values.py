"""Values that are known to break parsers of JSON, times, UUIDs, headers and keys, for corpus and mutations."""

# ruff: noqa: RUF001, E501 - look-alike characters are intended; the lists are data

from tests.fuzz.document import quoted
from tests.fuzz.fuzz_record import Headers


def _nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return opening * levels + closing * levels


NUMBERS = (
    "0", "-0", "-0.0", "0.0", "1", "1.0", "1E5", "1e+5", "1e-5", "-1", "NaN", "Infinity", "-Infinity", "1e400", "-1e400",
    "1e99999999999999999999", "5e-324", "2e-324", "1e-400", "2.2250738585072011e-308", "1.7976931348623157e308",
    "1.7976931348623158e308", "1.7976931348623159e308", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "123456789012345678901", "0.1000000000000000055511151231257827", "0e999999999999",
    "1" * 308, "1" * 309, "1" * 310, "9" * 5_000, "-" + "9" * 5_000, "0." + "3" * 5_000, "1e" + "0" * 5_000 + "5",
    "true", "false",
)  # fmt: skip
"""Numbers by the contract and by the standard library of Python."""
NOT_JSON = (
    "-NaN", "nan", "inf", "+1", "01", "-01", ".5", "1.", "1.e5", "1e", "-", "0x10", "1_000", "１２", "True", "None",
    "undefined", "'x'", "", '"', '"\\x"', '"\\u12"', '"\t"', '"\x00"', "[1,]", "[", "]", "{",
    '{"a"}', '{"a":1,}', "//", "1 2",
)  # fmt: skip
"""What some parsers accept, and JSON does not allow."""
VALUES = (
    "null", '""', '"x"', '"1"', '"NaN"', "[]", "{}", "[1]", '{"a":1}', '"\\ud800"', '"\\udc00\\ud800"',
    '"\\ud83d\\ude00"', '"\\u0000"', "[NaN]", '{"a":1e400}', '{"a":1,"a":2}', '"\ud800"', '"\x7f"', '" "', '"\ufeff"', '"💥"',
    _nested(100), _nested(940), _nested(1_000), _nested(1_021), _nested(1_022), _nested(1_023), _nested(1_100),
    _nested(1_021, '{"":', "}").replace("}", "0}", 1), "[" * 100, '"' + "[" * 2_000 + '"', "[" + "[]," * 1_500 + "NaN]",
)  # fmt: skip
"""Values of every other type, valid or not."""
NAMES = tuple(
    map(
        quoted,
        (
            "", " ", "\t", "\n", "\0", "a\0b", "n" * 255, "n" * 256, "n" * 257, "ä" * 256, "ä" * 257, "🦀" * 256,
            "🦀" * 257, "e\u0301" * 128, "e\u0301" * 129, "n" * 10_000, "\ud800", "\udfff", "a\udc00", "ехecution_time_ms",
            "ｅxecution_time_ms", "execution_time_ms\u200b", "\u202esm_emit", "\ufeff", "'; DROP TABLE x --", "{table}",
            "%s", "metric_type", "__proto__", "\\", '"', "\u2028", "NaN", "null", "execution_id",
        ),
    )
)  # fmt: skip
"""Names of metrics and of agents; look-alikes are different names."""


def ids(usual: str) -> tuple[str, ...]:
    """Ways to write the UUID `usual`, and other ids, as JSON text."""
    bare = usual.replace("-", "")
    return tuple(
        map(
            quoted,
            (
                usual.upper(), bare, f"{{{usual}}}", f"urn:uuid:{usual}", f"{usual}\n", f" {usual}", f"{usual} ",
                usual[:-1], f"{usual}0", f"{usual[:-1]}g", f"{usual[:-1]}\0", f"{usual[:-1]}１", usual.replace("-", "_"),
                usual.replace("-", "\u2010"), f"{bare[:4]}-{bare[4:]}", f"{usual[:8]}{usual[8:].replace('-', '', 1)}-",
                "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "", "0" * 36, "-" * 36,
                bare.upper(), f"{bare}0", bare[:-1], "G" * 32, "F" * 32, "x" * 128, "x" * 129, "🦀" * 128, "🦀" * 129,
                "\0", " ", "run_1\n\x1b[2J", "\ud800", "'; DROP TABLE x --", "%s", "7",
            ),
        )
    )  # fmt: skip


TIMES = tuple(
    map(
        quoted,
        (
            "2026-09-01T00:00:00Z", "2026-09-01t00:00:00z", "2026-09-01T00:00:00.Z", "2026-09-01T00:00:00.9999Z",
            "2026-09-01T00:00:00." + "9" * 1_000 + "Z", "2026-09-01T00:00:00", "2026-09-01T00:00Z", "2026-09-01",
            "2026-09-01 00:00:00Z", "20260901T000000Z", "2026-W36-2T00:00:00Z", "2026-244T00:00:00Z", "1788220800",
            "2026-12-31T23:59:60Z", "2026-06-30T23:59:60.5Z", "2026-09-01T12:34:60Z", "2026-09-01T00:00:61Z",
            "2027-01-01T05:29:60+05:30", "2299-12-31T23:59:60Z", "2026-09-01T24:00:00Z", "2026-09-01T23:60:00Z",
            "2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
            "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z", "9999-12-31T23:59:60-23:59",
            "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "1899-12-31T23:59:59.999Z", "1900-01-01T00:00:00Z",
            "1900-01-01T00:00:00+00:01", "1899-12-31T23:30:00-01:00", "2299-12-31T23:59:59.9999Z",
            "2300-01-01T00:00:00Z", "2300-01-01T00:30:00+01:00", "2299-12-31T23:30:00-01:00", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z",
            "1925-01-01T00:00:00Z", "1924-12-31T23:59:59Z", "2283-11-11T23:47:16Z", "2106-02-07T06:28:16Z",
            "2026-09-01T00:00:00+24:00", "2026-09-01T00:00:00+23:60", "2026-09-01T00:00:00+0100",
            "2026-09-01T00:00:00+01", "2026-09-01T00:00:00+01:00:00", "2026-09-01T00:00:00-00:00", "2026-09-01T00:00:00+23:59",
            "2026-09-01T00:00:00-23:59", "2026-09-01T00:00:00 Z", "2026-09-01T00:00:00Z\n", " 2026-09-01T00:00:00Z",
            "２０２６-09-01T00:00:00Z", "2026-09-01T00:00:00Z\0", "2026-09-01T00:00:00\u2212" + "01:00",
            "2026\u201009\u201001T00:00:00Z", "yesterday", "",
        ),
    )
)  # fmt: skip
EPOCHS = (
    "0", "-0", "1795600445", "1795600445.1239", "1795600445123", "1795600445123.5", "1.795600445e9", "17956004451e2",
    "99999999999", "99999999999.999", "1e11", "100000000000", "100000000000.4", "-1", "-2208988800", "-2208988800.0001",
    "-2208988801", "10413791999", "10413791999.999", "10413791999.9994", "10413791999.9996", "10413792000",
    "10413791999999", "10413791999999.4", "10413791999999.6", "10413792000000", "1795600445123456",
    "1795600445123456789", "18446744073709551616", "1e400", "-1e400", "NaN", "Infinity", "1e-400", "true",
    "1788220800", "1788220800.5", "1788220800000", "1788220800999.9", '"1788220800"', '"1788220800.5"',
)  # fmt: skip
"""Numbers as `completed_at`: seconds, milliseconds, and what is neither."""
_SIXTEEN = ",".join(f'"label {number}":"v"' for number in range(16))
LABELS = (
    "{}", '{"a":"b"}', '{"a":"b","a":"c"}', '{"a":1}', '{"a":null,"b":"c"}', '{"":"v"}', '{"status":"mine"}',
    '{"status":1}', '{"source":"mine","traceparent":"mine"}', f"{{{_SIXTEEN}}}", f'{{{_SIXTEEN},"z":"v"}}',
    f'{{"":"v",{_SIXTEEN},"bad":1,"z":"v"}}', f'{{"{"n" * 64}":"{"v" * 256}"}}', f'{{"{"n" * 65}":"v"}}',
    f'{{"n":"{"v" * 257}"}}', f'{{"{"🦀" * 64}":"{"🦀" * 256}"}}', '{"\\ud800":"v"}', '{"n":"\\ud800"}', '{"n":"\\u0000"}',
    '{"n":"\\ud83d\\ude00"}', '{"n":NaN}', '{"n":[]}', '{"n":{}}', '{"b":"1","a":"2","ä":"3"}', "[]", '[["a","b"]]', '"a"', "1",
    "null", "NaN", "true",
)  # fmt: skip
"""Labels, valid or not."""
VERSIONS = (
    "1", "1.0", "1e0", "10e-1", "1.0000000000000000000001", "1.1", "2", "0", "-1", "true", "null", "NaN", '"1"', '"1.0"',
    '"1.2.3"', '"1."', '"1.x"', '"01"', '"2"', '"10"', '"v1"', '"1 "', '"1\\n"', '"١"', '""', "[]", "{}", "1e400",
)  # fmt: skip
TIMESTAMPS = (
    0, 1, -1, -2, -1_000, 999, 2**31, 2**32, 10_413_791_999_999, 10_413_792_000_000, -2_208_988_800_000,
    -2_208_988_800_001, 253_402_300_799_999, 2**53, 2**62, -(2**62), 2**63 - 1, -(2**63),
)  # fmt: skip
"""Timestamps of records, in milliseconds."""
KEYS = (None, b"", b"k", b"\xff\xfe", b"\0", b"null", b"k" * 1_024, b"k" * 1_025, b"\xff" * 200_000)
HEADERS: tuple[Headers, ...] = (
    (("", b""),),
    (("", None),),
    (("trace", b"\xff\xfe"), ("trace", b"2"), ("trace", None)),
    (("n" * 10_000, b"x" * 100_000),),
    (("größe\0\n", b"\0"), ("💥", b"\xf0")),
    tuple((f"h{number}", b"v") for number in range(500)),
    (
        ("dlq.kind", b"metric"), ("dlq.error.class", b"too_large"), ("dlq.source.offset", b"-7"),
        ("dlq.source.partition", b"x"), ("dlq.replays", b"999999"), ("dlq.metric", b"\xff"),
    ),
    (("ce_specversion", b"1.0"), ("ce_type", b"execution.completed"), ("ce_id", b"1"), ("ce_source", b"/a")),
    (("CE_SpecVersion", b"1.1"), ("CE_Source", b"/b"), ("ce_traceparent", b"00-1-2-01")),
    (("ce_specversion", b"1.0"), ("ce_source", b"\xff"), ("ce_traceparent", b"v" * 257)),
    (("ce_specversion", b"1.0"), ("ce_source", None), ("ce_traceparent", b"")),
    (("ce_source", b"/no CloudEvent"), ("traceparent", b"00-1-2-01")),
    (("ce_specversion", b"1"),),
    (("ce_specversion", b"2.0"),),
    (("ce_specversion", b"0.3"),),
    (("ce_specversion", b""),),
    (("ce_specversion", None),),
    (("ce_specversion", b"\xff"),),
    (("ce_specversion", b" 1.0"),),
    (("ce_specversion", b"10.0"),),
    (("ce_specversion", b"2.0"), ("ce_specversion", b"1.0")),
    (("ce_specversion", b"1.0"), ("ce_specversion", b"2.0")),
    (("ce_specversion", b"2.0"), ("ce_specversion", None)),
    (("content-type", b"application/json"),),
    (("content-type", b"\xff"),),
    (("content-type", None),),
    (("content-type", b"application/cloudevents"),),
    (("content-type", b"application/cloudevents+avro"),),
    (("content-type", b"application/cloudevents-batch+json"),),
    (("content-type", b"application/cloudevents+json-seq"),),
)  # fmt: skip
STRUCTURED = (
    b"application/cloudevents+json", b"application/cloudevents+json; charset=utf-8", b"Application/CloudEvents+JSON",
    b"application/cloudevents+json ;x", b" application/cloudevents+json", b"application/cloudevents+jsonp",
    b"application/cloudevents+json\0",
)  # fmt: skip
"""Content types of, or near, the structured mode."""
ENVELOPES = (
    '{"specversion":"1.0","data":@}', '{"specversion":"1.0","id":"1","source":"/a","type":"t","data":@}',
    '{"specversion":"1.0","data_base64":"#"}', '{"specversion":"1.0","data":null,"data_base64":"#"}',
    '{"specversion":"1.0","data":"#"}', '{"specversion":"1.0"}', '{"data":@}', '{"specversion":"2.0","data":@}',
    '{"specversion":1.0,"data":@}', '{"specversion":"1","data":@}', '{"specversion":"1.x","data":@}',
    '{"specversion":"10","data":@}', '{"specversion":"\\ud800","data":@}', '{"specversion":null,"data":@}',
    '{"specversion":"1.0","data_base64":"###"}', '{"specversion":"1.0","data_base64":"# "}',
    '{"specversion":"1.0","data_base64":NaN}', '{"specversion":"1.0","data_base64":[]}',
    '{"specversion":"1.0","data":@,"data_base64":1}', '[{"specversion":"1.0","data":@}]', "@",
    '{"specversion":"1.0","source":7,"traceparent":{"a":1},"data":@}', '{"specversion":"1.0","source":null,"data":@}',
    '{"specversion":"1.0","traceparent":"00-1-2-01","data":@}', '{"specversion":"1.0","source":"\\ud800","data":@}',
    '{"specversion":"1.0","data":[@]}', '{"specversion":"2.0","specversion":"1.0","data":1,"data":@}',
)  # fmt: skip
"""Structured CloudEvents, valid and invalid: @ is replaced by the event, # by the event in base64."""
