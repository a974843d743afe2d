# SPDX-License-Identifier: Apache-2.0
"""What a command prints, in a log and on a terminal."""

import io
import re

import pytest

from ssl_jax.cli.console import Console
from ssl_jax.cli.format import cell, duration, human, width


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log():
    clock, out, err = Clock(), io.StringIO(), io.StringIO()
    return Console(out, err, interval=5, clock=clock), clock, out, err


def test_a_log_gets_a_line_every_interval_and_the_last_one(log):
    console, clock, out, err = log
    for done in range(0, 101, 10):
        console.progress("tokenize", done, 100, "documents")
        clock.now += 2
    assert out.getvalue() == ""
    assert err.getvalue().splitlines() == [
        "tokenize: 0/100 documents",
        "tokenize: 30/100 documents  5/s  ETA 14s",
        "tokenize: 60/100 documents  5/s  ETA 8s",
        "tokenize: 90/100 documents  5/s  ETA 2s",
        "tokenize: 100 documents  in 20s",
    ]


def test_the_rate_of_a_resumed_stage_counts_only_what_this_process_did(log):
    console, clock, _, err = log
    console.progress("tokenize", 900, 1000, "documents")
    clock.now += 10
    console.progress("tokenize", 910, 1000, "documents")
    assert err.getvalue().splitlines()[-1] == "tokenize: 910/1,000 documents  1/s  ETA 1m30s"


def test_steps_in_a_log(log):
    console, clock, _, err = log
    for step in (1, 2, 3, 4):
        console.step(step, 4, {"loss": 2.5, "lr": 1e-4, "tokens_per_s": 12345.6, "hash": 5}, eta_s=100.0)
        clock.now += 3
    assert err.getvalue().splitlines() == [
        "step 1/4  loss 2.5000  lr 1.00e-04  tokens/s 12.3k  ETA 1m40s",
        "step 3/4  loss 2.5000  lr 1.00e-04  tokens/s 12.3k  ETA 1m40s",
        "step 4/4  loss 2.5000  lr 1.00e-04  tokens/s 12.3k",
    ]


def test_results_go_to_stdout_and_warnings_to_stderr(log):
    console, _, out, err = log
    console.print("a [MASK] of [b]wool[/b]")
    console.warn("careful")
    assert out.getvalue() == "a [MASK] of [b]wool[/b]\n"
    assert err.getvalue() == "warning: careful\n"


def test_quiet_silences_all_but_warnings(log):
    console, _, out, err = log
    console.quiet = True
    console.print("x")
    console.status("x")
    console.progress("x", 1, 2, "y")
    console.step(1, 2, {"loss": 1.0})
    console.table("x", [("a", 1)])
    console.warn("careful")
    assert (out.getvalue(), err.getvalue()) == ("", "warning: careful\n")


def test_a_table_is_aligned_whatever_the_script(log):
    console, _, out, _ = log
    console.table(
        "Result", [("held-out 損失", 6.1, None), ("b", 12345, 1e-5)], header=("what", "before", "after")
    )
    assert out.getvalue().splitlines() == [
        "Result",
        "  what           before     after",
        "  -------------  ------  --------",
        "  held-out 損失  6.1000         -",
        "  b              12,345  1.00e-05",
    ]


def test_a_terminal_gets_bars_and_text_as_it_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    out, err = Terminal(), Terminal()
    with Console(out, err) as console:
        console.status("compiling")
        console.progress("sample", 5, None, "letters")
        console.progress("tokenize", 5, 10, "documents")
        console.print("a [MASK] of [b]wool[/b] 床前")
        console.progress("tokenize", 10, 10, "documents")
        console.step(1, 2, {"loss": 2.5})
        console.step(2, 2, {"loss": 2.25, "heldout/loss": 3.0})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue() + err.getvalue())
    for text in (
        "a [MASK] of [b]wool[/b] 床前",
        "tokenize: 10 documents",
        "step 2/2  loss 2.2500  held-out 3.0000",
    ):
        assert text in plain
    assert err.getvalue().count("\x1b[?25l") == err.getvalue().count("\x1b[?25h")  # the cursor is shown again


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_run_survives_a_terminal_that_was_closed():
    console = Console(Gone(), Gone(), keep_going=True)
    console.step(1, 2, {"loss": 1.0})
    console.print("x")
    console.warn("x")
    with pytest.raises(BrokenPipeError):
        Console(Gone(), Gone()).print("x")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (12.3, "12.3"),
        (999, "999"),
        (1000, "1k"),
        (12345, "12.3k"),
        (999_900, "1,000k"),
        (2e6, "2M"),
        (5e9, "5G"),
    ],
)
def test_human(number, text):
    assert human(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0s"),
        (59.6, "1m00s"),
        (3599.4, "59m59s"),
        (3725, "1h02m"),
        (172800, "2d00h"),
        (200_000, "2d07h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_cells_and_widths():
    assert [cell(v) for v in (None, True, 1234, 0.0, 1e-5, 1234.5, "x")] == [
        "-",
        "True",
        "1,234",
        "0.0000",
        "1.00e-05",
        "1,234.5000",
        "x",
    ]
    assert (width("abc"), width("損失"), width("e\u0301")) == (3, 4, 1)
