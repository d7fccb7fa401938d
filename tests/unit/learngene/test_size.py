"""Sizes and budgets as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.learngene.size import Budget, Size, parse_amount, sizes
from genepool_protocol.wire.errors import InvalidInput


def refused(function, *args, **options) -> None:
    with pytest.raises(InvalidInput) as caught:
        function(*args, **options)
    assert caught.value.reason == "OPTION_INVALID"
    assert caught.value.fix


@pytest.mark.parametrize(("text", "size"), [("6,2", Size(6, 2)), (" 12 , 4 ", Size(12, 4)), ("06,02", Size(6, 2))])
def test_a_size_is_depth_and_heads(text, size):
    assert Size.parse(text) == size


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_a_size_survives_its_text(depth, heads):
    assert Size.parse(str(Size(depth, heads))) == Size(depth, heads)


@pytest.mark.parametrize(
    "text", ["", "6", "6,", ",2", "6,2,1", "0,2", "6,0", "00,1", "-6,2", "6x2", "6.0,2", "a,b", "10000,1"]
)
def test_what_is_no_size_is_refused(text):
    refused(Size.parse, text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        (7, 7),
        ("900k", 900_000),
        ("1M", 1_000_000),
        ("1.5m", 1_500_000),
        ("2MiB", 2 << 20),
        ("2Mi", 2 << 20),
        ("3 GB", 3_000_000_000),
        ("1KIB", 1024),
        ("5b", 5),
        ("0.29M", 290_000),
        ("123456789012345678", 123456789012345678),
    ],
)
def test_amounts(text, amount):
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1T", "M", "1.M", ".5M", "1e6", "0.1", "1,000", "9" * 400, "nan", "inf", "1 M iB", -3, 0]
)
def test_what_is_no_amount_is_refused(text):
    refused(parse_amount, text)


@given(st.integers(1, 10**18 - 1))
def test_a_number_stays_what_it_is(number):
    assert parse_amount(number) == parse_amount(str(number)) == number


def test_a_budget_is_exactly_one_of_three():
    for given_ in ({"size": Size(1, 1)}, {"max_params": 5}, {"max_bytes": 5}, {"max_params": 0}):
        Budget(**given_)
    refused(Budget)
    refused(Budget, max_params=1, max_bytes=1)
    refused(Budget, size=Size(1, 1), max_params=1)


def test_every_size_of_a_blueprint_is_listed_once():
    assert list(sizes((2, 3), (1, 2))) == [Size(2, 1), Size(2, 2), Size(3, 1), Size(3, 2)]
