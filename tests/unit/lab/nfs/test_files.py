from provisioner.lab.nfs.files import TO_THE_END, _without
from provisioner.lab.nfs.operations import READ_LOCK, WRITE_LOCK, Range


def test_a_range_is_unlocked_in_the_middle() -> None:
    assert _without([Range(WRITE_LOCK, 0, 100)], Range(WRITE_LOCK, 40, 20)) == [
        Range(WRITE_LOCK, 0, 40),
        Range(WRITE_LOCK, 60, 40),
    ]


def test_a_range_to_the_end_of_the_file() -> None:
    locked = [Range(READ_LOCK, 10, TO_THE_END)]
    assert _without(locked, Range(WRITE_LOCK, 0, 20)) == [Range(READ_LOCK, 20, TO_THE_END)]
    assert _without(locked, Range(WRITE_LOCK, 20, TO_THE_END)) == [Range(READ_LOCK, 10, 10)]
    assert _without(locked, Range(WRITE_LOCK, 0, TO_THE_END)) == []


def test_other_ranges_stay() -> None:
    assert _without([Range(READ_LOCK, 0, 5)], Range(WRITE_LOCK, 5, 5)) == [Range(READ_LOCK, 0, 5)]
