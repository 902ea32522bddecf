"""What is compiled is kept between runs, and forgotten where a source changed."""

from stemdefects import compiled


def test_compiled_code_of_changed_sources_is_forgotten(tmp_path):
    kept = tmp_path / "__pycache__"
    (tmp_path / "caller.py").write_text("a = 1")
    (tmp_path / "called.py").write_text("b = 1")
    compiled.forget_stale(tmp_path)
    for name in ("caller.f-1.py311.nbi", "caller.f-1.py311.1.nbc"):
        (kept / name).write_text("compiled")
    compiled.forget_stale(tmp_path)
    assert len(list(kept.glob("*.nb[ic]"))) == 2  # nothing changed
    (tmp_path / "called.py").write_text("b = 22")
    compiled.forget_stale(tmp_path)
    assert not list(kept.glob("*.nb[ic]"))
