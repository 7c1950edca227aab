# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest
from PIL import Image

from mos_tune.metrics.curves import RunCurves
from mos_tune.metrics.picture import draw_mixture, main, mixture_figure


def curves(names, updates=8, validations=3, smoothing=True, last_step=85):
    """A run of ten steps per update in which the first datasets gain."""
    total = sum(range(1, len(names) + 1))
    uniform = dict.fromkeys(names, 1 / len(names))
    final = {name: (len(names) - i) / total for i, name in enumerate(names)}
    run = RunCurves(list(names), last_step, probabilities=[(0, uniform)])
    for update in range(1, updates + 1):
        run.probabilities.append((10 * update, final))
        run.raw_rewards.append((10 * update, {n: p + 0.01 * update for n, p in final.items()}))
        run.rewards.append((10 * update, final) if smoothing else run.raw_rewards[-1])
    for validation in range(validations):
        run.losses.append((20 * validation, {n: 3 - p - validation for n, p in final.items()}))
    return run


def texts(axis):
    return [text.get_text() for text in axis.texts]


def grey(colour):
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_probability_is_a_step_line_from_the_prior_to_the_end():
    figure = mixture_figure(curves(["mathematics", "medicine"]))
    line = figure.axes[0].lines[0]
    assert line.get_drawstyle() == "steps-post"
    assert list(line.get_xdata())[:2] == [0, 10]
    assert line.get_xdata()[-1] == 85
    assert list(line.get_ydata())[:2] == [0.5, pytest.approx(2 / 3)]
    assert "share of examples drawn" in figure.axes[0].get_ylabel()
    assert texts(figure.axes[0]) == ["medicine 0.333", "mathematics 0.667"]


def test_panels_share_the_steps():
    figure = mixture_figure(curves(["a", "b"]))
    assert [axis.get_title("left") for axis in figure.axes] == [
        "Mixture",
        "Reward",
        "Held-out loss",
    ]
    assert {axis.get_xlim() for axis in figure.axes} == {(0.0, 85.0)}
    assert figure.axes[2].get_ylabel() == "nats per response token"


def test_static_mixture_is_a_constant_line():
    figure = mixture_figure(curves(["a", "b"], updates=0))
    assert [axis.get_title("left") for axis in figure.axes] == ["Mixture", "Held-out loss"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [0.5, 0.5]
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 85]


def test_run_without_held_out_losses_has_two_panels():
    assert len(mixture_figure(curves(["a", "b"], validations=0)).axes) == 2


def test_raw_rewards_are_drawn_only_where_smoothing_changed_them():
    smoothed = mixture_figure(curves(["a", "b"])).axes[1]
    same = mixture_figure(curves(["a", "b"], smoothing=False)).axes[1]
    data = [line for line in smoothed.lines if line.get_transform() == smoothed.transData]
    assert len(data) == 4
    assert "thin: not smoothed" in smoothed.get_ylabel()
    data = [line for line in same.lines if line.get_transform() == same.transData]
    assert len(data) == 2
    assert same.get_ylabel() == "reward"


@pytest.mark.parametrize("count", [1, 2, 4, 6, 10])
def test_lines_differ_in_colour_and_without_it(count):
    names = [f"dataset {i}" for i in range(count)]
    lines = mixture_figure(curves(names)).axes[0].lines[:count]
    shades = sorted({grey(line.get_color()) for line in lines})
    assert len(shades) == min(count, 6)
    assert all(lighter - darker > 15 for darker, lighter in zip(shades, shades[1:], strict=False))
    assert max(shades) < 190  # still seen on white
    assert len({(line.get_marker(), line.get_color()) for line in lines}) == count


def test_of_many_datasets_the_most_probable_are_named():
    names = [f"dataset {i}" for i in range(20)]
    figure = mixture_figure(curves(names))
    for axis in figure.axes:
        assert {text.rsplit(" ", 1)[0] for text in texts(axis)} == set(names[:10])
    assert figure.axes[0].get_title("right").startswith("10 of 20 datasets named")
    assert mixture_figure(curves(names[:10])).axes[0].get_title("right") == ""


@pytest.fixture
def started(tmp_path):
    """mixture.jsonl of a run that has only just started."""
    path = tmp_path / "mixture.jsonl"
    event = {"event": "start", "step": 0, "names": ["a"], "probabilities": {"a": 1.0}}
    path.write_text(json.dumps(event) + "\n", encoding="utf-8")
    return path


def test_picture_of_a_run_that_has_only_started(started, tmp_path):
    draw_mixture(started, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 1400
        assert picture.convert("L").getextrema() == (0, 255)


def test_command_draws_beside_the_file(started, capsys):
    main([str(started)])
    assert capsys.readouterr().out == ""
    assert started.with_name("mixture.png").is_file()


def test_command_says_in_one_line_what_is_wrong(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["missing.jsonl"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "cannot read missing.jsonl: No such file or directory\n"


@pytest.mark.parametrize(
    ("unit", "label", "other"),
    [
        ("sequences", "share of examples drawn", "share of response tokens"),
        ("tokens", "share of tokens", "share of response tokens"),
        ("response_tokens", "share of response tokens", "share of examples drawn"),
    ],
)
def test_where_lengths_are_known_the_mixture_is_shown_in_draws_and_response_tokens(
    unit, label, other
):
    run = curves(["a", "b"], updates=0, validations=0)
    run.share_of = unit
    run.lengths = {"tokens": {"a": 3.0, "b": 3.0}, "response_tokens": {"a": 1.0, "b": 3.0}}
    first, second = mixture_figure(run).axes
    assert (first.get_ylabel(), second.get_ylabel()) == (f"probability\n({label})", other)
    a = next(line for line in second.get_lines() if len(line.get_ydata()) > 1)
    assert a.get_ydata()[0] == pytest.approx(0.75 if unit == "response_tokens" else 0.25)
