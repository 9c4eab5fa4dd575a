"""Which message a broker answers by closing the connection."""

from __future__ import annotations

from butler_mqtt.domain.model import Publication
from butler_mqtt.outbox.hangup_suspects import MAX_LOSSES, SOON_SECONDS, Next, Suspects

BAD = Publication(1, "topic", b"", "request")


class Rig:
    """Suspects with a clock of the test."""

    def __init__(self, quiet: float = 5.0) -> None:
        self.now = 0.0
        self.suspects = Suspects(quiet, lambda: self.now)

    def suspect(self, publication: Publication = BAD) -> None:
        self.suspects.mark(publication.id)
        self.suspects.append(publication)

    def send_alone(self) -> None:
        """Send the suspect on a connection that has proved itself."""
        self.suspects.connected()
        self.now += 5.0
        assert self.suspects.next(in_flight=False) is Next.SUSPECT
        assert self.suspects.first() is BAD
        self.suspects.sent()


def test_a_message_is_suspected_after_so_many_ends_of_connections() -> None:
    suspects = Rig().suspects
    assert [suspects.lost(1) for _ in range(MAX_LOSSES)] == [False] * (MAX_LOSSES - 1) + [True]
    suspects.mark(1)
    assert not suspects.lost(1)


def test_a_suspect_waits_until_the_connection_has_proved_itself() -> None:
    rig = Rig()
    rig.suspect()
    assert rig.suspects.next(in_flight=False) is Next.OTHERS
    rig.suspects.connected()
    rig.now = 4.9
    assert rig.suspects.next(in_flight=False) is Next.OTHERS
    rig.now = 5.0
    assert rig.suspects.next(in_flight=False) is Next.SUSPECT


def test_it_is_alone_in_flight_but_does_not_hold_up_the_others_for_ever() -> None:
    rig = Rig()
    rig.suspect()
    rig.suspects.connected()
    rig.now = 5.0
    assert rig.suspects.next(in_flight=True) is Next.NOBODY
    rig.now += SOON_SECONDS + 0.1
    assert rig.suspects.next(in_flight=True) is Next.OTHERS


def test_only_an_end_right_after_a_message_was_sent_alone_is_put_down_to_it() -> None:
    rig = Rig()
    rig.suspect()
    rig.send_alone()
    assert rig.suspects.next(in_flight=True) is Next.NOBODY
    assert rig.suspects.ended() == BAD.id
    assert rig.suspects.ended() is None


def test_a_late_end_is_put_down_to_nobody_and_others_go_on_before_it() -> None:
    rig = Rig()
    rig.suspect()
    rig.send_alone()
    rig.now += SOON_SECONDS + 0.1
    assert rig.suspects.ended() is None
    rig.suspect()
    rig.send_alone()
    rig.now += SOON_SECONDS + 0.1
    assert rig.suspects.next(in_flight=True) is Next.OTHERS


def test_where_no_connection_lasts_it_is_sent_sooner_and_nothing_is_concluded() -> None:
    rig = Rig()
    rig.suspect()
    for _ in range(3):
        rig.suspects.connected()
        rig.now += 0.5
        assert rig.suspects.ended() is None
    rig.suspects.connected()
    rig.now += 0.7
    assert rig.suspects.next(in_flight=False) is Next.SUSPECT
    rig.suspects.sent()
    assert rig.suspects.ended() is None


def test_a_message_that_is_confirmed_is_not_suspected_any_more() -> None:
    rig = Rig()
    rig.suspect()
    rig.send_alone()
    rig.suspects.acquit(BAD.id)
    assert BAD.id not in rig.suspects
    assert rig.suspects.ended() is None
