# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from helpers.runs import REPOSITORY

from mos_tune.cli import COMMANDS, PREPARATIONS, main

TOOLS = COMMANDS | {f"prepare {name}": tool for name, tool in PREPARATIONS.items()}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_ls_tells_what_each_is(capsys):
    main(["ls"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    told = {line[0]: line[1] for line in lines if len(line) == 2}
    files = [*REPOSITORY.glob("recipes/[!_]*.py"), *REPOSITORY.glob("configs/**/*.yaml")]
    names = {str(file.relative_to(REPOSITORY).with_suffix("")).split("/", 1)[1] for file in files}
    assert set(told) == names
    assert told["tiny_llama3_mos"].startswith("A tiny Llama 3 learns four")
    assert told["full_finetune_mos_distributed"].startswith("Full finetuning on a learned mixture")


def test_ls_and_help_wait_for_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom mos_tune.cli import main\nmain(['ls'])\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'torchtune', 'numpy', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", TOOLS)
def test_every_command_has_a_help_with_two_examples(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: mos-tune {name} ")
    assert out.count(f"  mos-tune {name}") >= 2
    module, _, function = TOOLS[name][0].partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_the_commands(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_an_unknown_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as end:
        main(["rnu"])
    assert end.value.code == 2
    assert "invalid choice: 'rnu'" in capsys.readouterr().err


def test_cp(capsys):
    source = (REPOSITORY / "configs" / "eval" / "qwen1_5_0.5B.yaml").read_text()
    main(["cp", "eval/qwen1_5_0.5B"])
    main(["cp", "eval/qwen1_5_0.5B", "my_0.5B"])
    main(["cp", "eval/qwen1_5_0.5B.yaml", "new/folder/mine.yaml", "--make-parents"])
    main(["cp", "select_examples", "new"])
    copies = ["qwen1_5_0.5B.yaml", "my_0.5B.yaml", "new/folder/mine.yaml"]
    assert [Path(copy).read_text() for copy in copies] == [source] * 3
    assert Path("new/select_examples.py").is_file()
    assert capsys.readouterr().out.splitlines()[1] == "copied to my_0.5B.yaml"


def test_cp_keeps_what_is_there_if_told_so(capsys):
    Path("mine.yaml").write_text("mine")
    main(["cp", "tiny_llama3_mos", "mine.yaml", "--no-clobber"])
    assert Path("mine.yaml").read_text() == "mine"
    assert capsys.readouterr().out == "mine.yaml is there already, and stays\n"
    main(["cp", "tiny_llama3_mos", "mine.yaml"])
    assert Path("mine.yaml").read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny_llama", "."], "no recipe or config tiny_llama; the nearest of mos-tune's: tiny_ll"),
        (["tiny_llama3_mos", "new/mine.yaml"], "cannot write new/mine.yaml: No such file or dir"),
        (["tiny_llama3_mos", "new/mine.yaml"], "--make-parents makes its folder"),
    ],
)
def test_cp_says_in_a_line_what_is_wrong(arguments, words):
    with pytest.raises(SystemExit) as end:
        main(["cp", *arguments])
    assert words in end.value.code and "\n" not in end.value.code


def test_a_tool_gets_its_arguments_and_not_the_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest", "--nonsense"])
    with pytest.raises(SystemExit, match="1"):
        main(["picture", str(tmp_path / "mixture.jsonl")])
    with pytest.raises(SystemExit, match=r"mos-tune stopped: .*mixture\.jsonl"):
        main(["perplexities", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main(["prepare", "smollm2", "--output", "x", "--nonsense"])
    assert end.value.code == 2


def test_python_in_a_clone_imports_the_clone(tmp_path):
    (tmp_path / "mos_tune").mkdir()
    (tmp_path / "mos_tune" / "__init__.py").write_text("which = 'this clone'")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "import mos_tune; print(mos_tune.which)"],
        env=clean,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "this clone\n", done.stderr
