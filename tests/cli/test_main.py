# SPDX-License-Identifier: Apache-2.0
"""The command line: what is typed, what is printed, and the exit status."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from ssl_jax.cli import commands, errors
from ssl_jax.cli.main import main, parser
from ssl_jax.types import Failure, Told, UserError

RECIPE = """
from pathlib import Path
import os, signal, sys, time
{body}
def config():
    return None
"""


def command(*args: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ssl_jax", *args], capture_output=True, text=True, timeout=60, **kwargs
    )


@pytest.fixture
def acts(monkeypatch):
    """acts(f): the command `prepare` does f(args, console) from now on."""
    return lambda act: monkeypatch.setitem(commands.COMMANDS, "prepare", act)


def fails(error: BaseException):
    def act(args, console):
        raise error

    return act


# --------------------------------------------------------------------------------------------- help


def test_help_is_quick_and_imports_nothing_heavy(repository):
    code = "import sys\nfrom ssl_jax.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('jax', 'numpy', 'rich', 'flax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize("name", parser()._subparsers._group_actions[0].choices)
def test_every_command_has_help_with_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(rf"^  ssl-jax ({name} .*)$", text, re.MULTILINE)
    assert examples
    import shlex

    for example in examples:
        assert parser().parse_args(shlex.split(example)).command == name
    assert name in commands.COMMANDS


def test_python_m_prints_the_version():
    done = command("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"ssl-jax \d+\.\d+\.\d+\n", done.stdout)


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrian", "x"], "did you mean pretrain?"),
        (["zzz"], "the commands are pretrain"),
        (["pretrain", "x", "--fesh"], "did you mean --fresh?"),
        (["pretrain", "x", "y"], "what is y for?"),
        (["pretrain"], "required: RECIPE"),
        (["pretrain", "x", "--from", "a", "--branch", "b@1"], "not allowed with"),
        (["inspect", "x", "--batch", "-1"], "not a whole number, 0 or more"),
        (["inspect", "x", "--step", "0"], "not a whole number, 1 or more"),
        (["pretrain", "x", "--workdir", "gs://b/x"], "gs://b/x is a URL; a run needs a folder"),
        (["--nothing"], "no option --nothing"),
        (["plan", "x", "--price", "-1"], "-1 is not a number, 0 or more"),
        (["plan", "x", "--price", "nan"], "nan is not a number, 0 or more"),
        (["plan", "x", "--json", "/nowhere/x.json"], "no file in a folder that is there"),
    ],
)
def test_a_typing_mistake_is_one_line_and_status_2(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "bert_tinny"], "no recipe bert_tinny; did you mean bert_tiny"),
        (["pretrain", "bert_tiny", "--set", "optim.peaklr=1"], "did you mean optim.peak_lr?"),
        (["prepare", "{recipe}"], "mine.py:4: ZeroDivisionError"),
        (["pretrain", "bert_tiny", "--num-processes", "2"], "all three of --coordinator"),
        (["plan", "glue:cola", "--topology", "h100:8"], "glue:cola is the recipe of a task"),
        (["plan", "glue", "--topology", "h100:8"], "glue is the recipe of a task"),
        (["plan", "bert_tiny", "--topology", "h100:1000000000"], "131,072 GPUs at most"),
        (["fill-mask", "{folder}", "x"], "no workdir"),
        (["inspect", "bert_tiny", "--step", "3"], "--step wants a workdir"),
        (["inspect", "{folder}", "--set", "seed=1"], "--set changes a recipe"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "mine.py"
    recipe.write_text(RECIPE.format(body="1 / 0"))
    assert main([word.format(recipe=recipe, folder=tmp_path) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


# ------------------------------------------------------------------------------------- exit statuses


def chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("do this"), 2, "do this"),
        (Failure("it broke"), 1, "it broke"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit(75), 75, "stopped by SIGTERM"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 1, "the disk is full (runs/x)"),
        (chained(RuntimeError("save failed"), OSError(errno.ENOSPC, "x")), 1, "the disk is full"),
        (ValueError("RESOURCE_EXHAUSTED: write: No space left on device"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "Permission denied (/x)"),
        (MemoryError(), 1, "out of memory on the host"),
        (
            RuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer"),
            1,
            "process of the run was lost",
        ),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), 1, "out of device memory"),
        (ExceptionGroup("workers", [ValueError("x"), MemoryError()]), 1, "out of memory on the host"),
    ],
)
def test_exit_status_and_line(error, status, said, acts, capsys):
    acts(fails(error))
    assert main(["prepare", "bert_tiny"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ssl-jax: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3), (75, 75)])
def test_a_commands_own_status_comes_out(returned, status, acts):
    acts(lambda args, console: returned)
    assert main(["prepare", "bert_tiny"]) == status


def test_what_another_process_has_said_is_not_said_again(acts, capsys):
    acts(fails(Told(2)))
    assert main(["prepare", "bert_tiny"]) == 2
    assert capsys.readouterr() == ("", "")


def test_an_unforeseen_error_names_the_log_that_holds_its_traceback(acts, capsys, tmp_path):
    def act(args, console):
        args.workdir = tmp_path
        (tmp_path / "config.json").write_text("{}")
        raise KeyError("boom")

    acts(act)
    assert main(["prepare", "bert_tiny"]) == 1
    err = capsys.readouterr().err
    assert "KeyError: 'boom'" in err
    assert str(tmp_path / "error.log") in err
    assert err.count("\n") == 1
    log = (tmp_path / "error.log").read_text()
    assert 'raise KeyError("boom")' in log


def test_an_unforeseen_error_leaves_a_folder_that_is_no_workdir_alone(acts, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "other").mkdir()

    def act(args, console):
        args.workdir = tmp_path / "other"
        raise KeyError("boom")

    acts(act)
    assert main(["prepare", "bert_tiny"]) == 1
    assert list((tmp_path / "other").iterdir()) == []
    [log] = (tmp_path / "temporary").iterdir()
    assert str(log) in capsys.readouterr().err


def test_debug_prints_the_traceback_of_a_users_mistake_too(acts, capsys):
    acts(fails(UserError("do this")))
    assert main(["prepare", "bert_tiny", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("ssl-jax: do this\n")


def test_explain_knows_no_other_error():
    assert errors.explain(ValueError("x")) == (1, None)


# --------------------------------------------------------------------------- real signals and pipes


def test_sigterm_before_the_loop_is_status_75(tmp_path):
    recipe = tmp_path / "slow.py"
    recipe.write_text(RECIPE.format(body="Path('ready').touch()\ntime.sleep(60)"))
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_jax", "prepare", str(recipe)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert err == "ssl-jax: stopped by SIGTERM; the same command goes on from there\n"


def test_a_reader_that_left_makes_no_noise(tmp_path):
    code = (
        "from ssl_jax.cli import commands, main\n"
        "def act(args, console):\n"
        "    for i in range(10**5): console.print('x' * 80)\n"
        "commands.COMMANDS['prepare'] = act\n"
        "import sys; sys.exit(main.main(['prepare', 'bert_tiny']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (1, "")
