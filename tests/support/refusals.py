"""What a call is refused for."""

from collections.abc import Callable

import pytest

from genepool_protocol.wire.errors import GenepoolError


def refusal_of(call: Callable[..., object], *arguments: object, **options: object) -> GenepoolError:
    """The error with which the call is refused; it has a sentence for a person."""
    with pytest.raises(GenepoolError) as caught:
        call(*arguments, **options)
    assert caught.value.message
    return caught.value


def reason_of(call: Callable[..., object], *arguments: object, **options: object) -> str:
    """The stable reason code with which the call is refused."""
    return refusal_of(call, *arguments, **options).reason
