"""What is compiled is kept between runs, and forgotten where a source changed."""

from stemdefects import compiled


def test_compiled_code_of_changed_sources_is_forgotten(tmp_path):
    """Of the folder and of those in it: one that calls may stand above what it calls, and below."""
    inner = tmp_path / "inner"
    for folder, name in ((tmp_path, "caller"), (inner, "called")):
        (folder / "__pycache__").mkdir(parents=True)
        (folder / f"{name}.py").write_text("a = 1")
    for changed in (tmp_path / "caller.py", inner / "called.py"):
        compiled.forget_stale(tmp_path)
        for folder, name in ((tmp_path, "caller"), (inner, "called")):
            for end in ("nbi", "1.nbc"):
                (folder / "__pycache__" / f"{name}.f-1.py311.{end}").write_text("compiled")
        compiled.forget_stale(tmp_path)
        assert len(list(tmp_path.rglob("*.nb[ic]"))) == 4  # nothing changed
        changed.write_text("a = 22")
        compiled.forget_stale(tmp_path)
        assert not list(tmp_path.rglob("*.nb[ic]"))
