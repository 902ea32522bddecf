from benchmarks import fuzz_readers


def test_damaged_files_end_in_a_clear_error_or_in_frames():
    """The seeded fuzzer, briefly; `python benchmarks/fuzz_readers.py 1000` is the whole of it."""
    found, bad, peak_mb = fuzz_readers.run(60, seed=7)
    assert not bad, bad
    assert found["clear error"] > 20 and sum(found.values()) == 60
    assert peak_mb < 1500
