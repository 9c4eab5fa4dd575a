"""Dates as they come from outside, at the ends of every calendar and beyond."""

from __future__ import annotations

from hypothesis import strategies as st

YEARS = ["0000", "0001", "1582", "1753", "1900", "1969", "1970", "2031", "9998", "9999", "10000"]
DAYS = ["01-01", "02-29", "02-30", "12-31", "00-00", "13-01"]
TIMES = ["00:00:00", "23:59:59", "23:59:59.999", "23:59:59.9999999", "23:59:60", "24:00:00", "25:00:00"]
OFFSETS = ["Z", "", "+00:00", "-00:00", "+14:00", "-12:00", "-01:00", "+01:00", "+23:59", "-23:59", "+24:00"]
STAMPS = st.one_of(
    st.tuples(*map(st.sampled_from, (YEARS, DAYS, TIMES, OFFSETS))).map(
        lambda a: f"{a[0]}-{a[1]}T{a[2]}{a[3]}"
    ),
    st.text(max_size=40),
    st.text("0123456789-:.TZ+W ", max_size=30),
)
HTTP_DATES = st.one_of(
    st.tuples(
        st.sampled_from(["Fri, ", "", "Foo, "]),
        st.sampled_from(["31 Dec ", "1 Jan ", "29 Feb ", "99 Foo "]),
        st.sampled_from(YEARS),
        st.sampled_from([" 23:59:59", " 00:00:00", " 99:99:99", ""]),
        st.sampled_from([" GMT", " -0100", " +0100", " -9999", " +2400", " EST", " -0000", ""]),
    ).map("".join),
    st.text(max_size=40),
    st.text("0123456789-:, +ADFGJMTadeghinpruy", max_size=40),
)
