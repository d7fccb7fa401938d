"""Every field of every request has a form, and what does not have it is refused without being repeated."""

import pytest

from genepool_protocol.v1 import consume_pb2, contribute_pb2, operator_pb2, pool_pb2
from genepool_protocol.wire import forms
from genepool_protocol.wire.errors import GenepoolError

MODULES = (pool_pb2, contribute_pb2, consume_pb2, operator_pb2)
METHODS = [m for module in MODULES for s in module.DESCRIPTOR.services_by_name.values() for m in s.methods]


def fields(kind, seen=None):
    """Every field that a request can hold, at every depth."""
    seen = set() if seen is None else seen
    if kind.full_name in seen:
        return
    seen.add(kind.full_name)
    for field in kind.fields:
        yield field
        if field.message_type is not None:
            yield from fields(field.message_type, seen)


def test_every_text_bytes_and_list_of_every_request_has_a_form_and_no_form_is_left_over():
    found = {field.full_name: field for method in METHODS for field in fields(method.input_type)}
    needed = {
        name
        for name, field in found.items()
        if field.is_repeated or field.type in (field.TYPE_STRING, field.TYPE_BYTES)
    }
    assert needed - set(forms.FORMS) == set()
    assert set(forms.FORMS) - set(found) == set()
    for name, form in forms.FORMS.items():
        assert bool(form.most) == bool(found[name].is_repeated), name
        assert form.longest or found[name].type not in (9, 12), name


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (contribute_pb2.GetEnrolmentRequest(site="a\0b", tls_keyid="0" * 64), "NAME_INVALID"),
        (contribute_pb2.GetEnrolmentRequest(site="a", tls_keyid="\0" * 64), "FIELD_MALFORMED"),
        (consume_pb2.ListKeysRequest(blueprint="tiny", licenses=["MIT"] * 70_000), "FIELD_MALFORMED"),
        (consume_pb2.ListKeysRequest(blueprint="tiny", licenses=["MIT\0"]), "FIELD_MALFORMED"),
        (consume_pb2.CheckStatusRequest(descendants=["f" * 64] * 257), "OPTION_INVALID"),
        (consume_pb2.CheckStatusRequest(contribution_ids=["F" * 64]), "OPTION_INVALID"),
        (operator_pb2.DecideContributionRequest(contribution_id="0" * 64, note="\x1b[2K"), "FIELD_MALFORMED"),
        (operator_pb2.InviteRequest(site="a", life_seconds=1 << 63), "OPTION_INVALID"),
        (pool_pb2.GetBlueprintRequest(name="x" * 64), "NAME_INVALID"),
    ],
)
def test_what_is_not_of_its_form_is_refused(message, reason):
    with pytest.raises(GenepoolError) as caught:
        forms.check(message)
    assert caught.value.reason == reason
    assert "MIT" not in caught.value.diagnostics()


def test_the_weights_of_a_descent_are_looked_into():
    request = consume_pb2.DescendRequest(blueprint="tiny")
    request.weights.add(contribution_id="f" * 64, milli=1)
    forms.check(request)
    request.weights.add(contribution_id="\0", milli=1)
    with pytest.raises(GenepoolError):
        forms.check(request)
