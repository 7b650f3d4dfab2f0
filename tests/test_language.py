"""Names are nouns or verbs, constants are more than an adjective, and what is public has a docstring: see language.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import language
from language import RULES, exceeding, findings


def test_no_file_gets_harder_to_read() -> None:
    worse = exceeding(findings(), language.read_baseline())
    assert not worse, "\n".join([*map(str, worse), f"(code that only moved to another file: {language.COMMAND})"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("found = 1", [RULES[0]]),
        ("def _f(known: int) -> None: ...", [RULES[0]]),
        ("def told() -> int:\n    'Says it.'", [RULES[0]]),
        ("class _A:\n    def __init__(self) -> None:\n        self.asked = 1", [RULES[0]]),
        ("_KEPT = 3", [RULES[0]]),
        ("try:\n    pass\nexcept OSError as seen:\n    pass", [RULES[0]]),
        ("_LEAST = 3", [RULES[1]]),
        ("least, known_files, SMALLEST_SIDE, expected = range(4)", []),
        ("def read() -> int:\n    return 1", [RULES[2]]),
        ("class A:\n    'A thing.'\n    def read(self) -> None: ...", [RULES[2]]),
        ("class _A:\n    def read(self) -> None: ...\ndef _read() -> None: ...", []),
        ("class A:\n    'A.'\n    def f(self):\n        'F.'\nclass B(A):\n    'B.'\n    def f(self): ...", []),
        ("class A:\n    'A.'\nclass B(A):\n    'B.'\n    def f(self): ...", [RULES[2]]),
        ("class A(nn.Module):\n    'A.'\n    def forward(self): ...", []),
    ],
)
def test_a_fault_is_noticed(text: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "a.py").write_text(text)
    results = findings(tmp_path)
    assert [one.rule for one in results] == expected
    assert len(exceeding(results, {})) == len(expected)
    assert exceeding(results, {"nets/a.py": dict.fromkeys(RULES, 1)}) == []
    assert len(exceeding(results, {"nets/b.py": dict.fromkeys(RULES, 1)})) == len(expected)


def test_the_command_writes_the_baseline_and_refuses_to_raise_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline, source = tmp_path / "baseline.json", tmp_path / "source"
    source.mkdir()
    monkeypatch.setattr(language, "BASELINE", baseline)
    monkeypatch.setattr(language.findings, "__defaults__", (source,))
    (source / "a.py").write_text("found = 1\nseen = 2\n")
    assert language.main() == 0
    (source / "a.py").write_text("found = 1\n")
    (source / "b.py").write_text("seen = 1\n")
    assert language.main() == 0, "a move"
    assert language.read_baseline() == {"a.py": {RULES[0]: 1}, "b.py": {RULES[0]: 1}}
    (source / "b.py").write_text("seen = 1\ntold = 2\n")
    assert language.main() == 1
    assert language.read_baseline()["b.py"] == {RULES[0]: 1}
