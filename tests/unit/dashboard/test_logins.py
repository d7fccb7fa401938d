"""Links that log in once, and sessions that end."""

import pytest

from genepool_server.dashboard.logins import IDLE_SECONDS, LINK_SECONDS, SESSION_SECONDS, Logins


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def logins(clock):
    return Logins(clock)


def test_attack_a_link_works_once(logins):
    link = logins.link()
    session = logins.enter(link)
    assert logins.known(session)
    assert logins.enter(link) == ""
    assert not logins.waits(link)


def test_looking_at_a_link_does_not_use_it_up(logins):
    link = logins.link()
    assert logins.waits(link)
    assert logins.waits(link)
    assert logins.enter(link)


def test_a_link_is_short_lived(logins, clock):
    link = logins.link()
    clock.now += LINK_SECONDS
    assert logins.enter(link) == ""


@pytest.mark.parametrize("secret", ["", "x", "\udc80", "é" * 10_000])
def test_what_is_no_link_logs_nobody_in(logins, secret):
    logins.link()
    assert logins.enter(secret) == ""
    assert not logins.known(secret)


def test_a_session_ends_without_a_page_and_in_any_case_after_hours(logins, clock):
    session = logins.enter(logins.link())
    clock.now += IDLE_SECONDS
    assert not logins.known(session)
    session = logins.enter(logins.link())
    for _ in range(SESSION_SECONDS // (IDLE_SECONDS - 1)):
        clock.now += IDLE_SECONDS - 1
        assert logins.known(session)
    clock.now += IDLE_SECONDS - 1
    assert not logins.known(session)


def test_logging_out_ends_a_session(logins):
    session, other = logins.enter(logins.link()), logins.enter(logins.link())
    logins.leave(session)
    assert not logins.known(session)
    assert logins.known(other)


def test_no_secret_is_kept_and_no_number_grows(logins):
    links = [logins.link() for _ in range(100)]
    sessions = [logins.enter(logins.link()) for _ in range(100)]
    held = [*logins._links, *logins._sessions]
    assert len(held) < 30
    assert not {secret.encode() for secret in (*links, *sessions)} & set(held)
    assert logins.known(sessions[-1])
    assert not logins.known(sessions[0])


def test_another_server_knows_no_session_of_this_one(logins):
    assert not Logins().known(logins.enter(logins.link()))
