"""Figures of the report as SVG elements for an HTML page.

They are drawn with stand-in colours for ink, muted ink, lines and ground, which become CSS variables of the page, so
that a figure follows the page from light to dark. The same inputs give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pivot_jax.pipeline.metrics import MetricLine
from pivot_jax.pipeline.report_estimates import SuiteEstimates
from pivot_jax.pipeline.report_inputs import PivotManifest
from pivot_jax.pipeline.report_text import arm_label

INK, MUTED, LINE, GROUND = "#1b1e24", "#6c727c", "#d9dce2", "#fdfdfc"
CSS_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", GROUND: "var(--ground)"}

ARM_COLOURS = {"base": "#878d97", "sft": "#cf7a30", "pivotrl": "#2c86a8"}
OTHER_COLOURS = (
    "#8a6fb8", "#5f9a58", "#b5597c", "#a08a2e", "#3f6fb0", "#c0574b", "#3c9d94", "#7d6a52", "#c283c9", "#90a83c",
)  # fmt: skip

CURVES = {
    "train/reward_mean": "Mean reward of sampled actions",
    "pivot/mixed_fraction": "Groups with mixed rewards",
    "policy/kl_to_reference": "KL to the reference policy (nats)",
    "sft/loss": "SFT loss (nats per token)",
}

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def arm_colours(arms: Iterable[str]) -> dict[str, str]:
    """One colour an arm, the same in every figure."""
    others = (arm for arm in arms if arm not in ARM_COLOURS)
    return {**ARM_COLOURS, **{arm: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, arm in enumerate(others)}}


def learning_curves(metrics: Sequence[MetricLine]) -> Figure:
    """A panel for each of `CURVES`, a line for each arm that recorded it; a panel without data says so."""
    arms = list(dict.fromkeys(line.stage for line in metrics))
    colours = arm_colours(arms)
    with matplotlib.rc_context(STYLE):
        figure = _figure(8.4, 5.4)
        for axes, (name, title) in zip(figure.subplots(2, 2).flat, CURVES.items(), strict=True):
            axes.set_title(title)
            recorded = [line for line in metrics if name in line.metrics]
            for arm in [arm for arm in arms if any(line.stage == arm for line in recorded)]:
                own = [line for line in recorded if line.stage == arm]
                steps = np.array([line.step for line in own], float)
                values = np.array([line.metrics[name] for line in own], float)
                _curve(axes, steps, values, colours[arm])
            if not recorded:
                _say_nothing_recorded(axes)
                continue
            axes.set_xlabel("step")
            axes.margins(x=0.02)
            if name == "pivot/mixed_fraction":
                axes.set_ylim(-0.02, 1.02)
        if arms:
            lines = [Line2D([], [], color=colours[arm], linewidth=1.8, label=arm_label(arm)) for arm in arms]
            figure.legend(handles=lines, loc="outside lower center", ncols=min(len(arms), 4))
    return figure


def pass_rate_histogram(pivots: PivotManifest) -> Figure:
    """Candidates by the mean reward of their samples, with the range of pivots (Eq. 5) apart from the rest."""
    rates = np.array([rate for rate in pivots.pass_rates if rate is not None], float)
    exact = np.array([rate for rate in pivots.pass_rates_exact if rate is not None], float)
    # One bar for each value a binary verifier can give, centred on it.
    edges = (np.arange(pivots.k + 2) - 0.5) / pivots.k
    with matplotlib.rc_context(STYLE):
        figure = _figure(7.0, 3.3)
        axes = figure.subplots()
        is_pivot = (rates > 0) & (rates < pivots.threshold)
        parts = {
            "in the pivot range": (rates[is_pivot], ARM_COLOURS["pivotrl"]),
            "outside it": (rates[~is_pivot], ARM_COLOURS["base"]),
        }
        axes.hist(
            [values for values, _ in parts.values()],
            bins=list(edges),
            stacked=True,
            rwidth=0.72,
            color=[colour for _, colour in parts.values()],
            label=[f"{name} ({len(values)})" for name, (values, _) in parts.items()],
        )
        if exact.size:
            axes.stairs(np.histogram(exact, edges)[0], edges, color=INK, linewidth=1.1, label="under exact matching")
        axes.axvline(pivots.threshold, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f" \u03bb = {pivots.threshold:g}",
            (pivots.threshold, 1),
            xycoords=("data", "axes fraction"),
            va="top",
            color=MUTED,
        )
        axes.set_xticks(np.linspace(0, 1, 5))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel(f"pass rate of {pivots.k} sampled actions")
        axes.set_ylabel("candidates")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3)
    return figure


def gain_and_retention(arms: Mapping[str, SuiteEstimates]) -> Figure:
    """Every arm by its in-domain and its out-of-domain mean, with 95% intervals and the base's as dashed lines."""
    colours = arm_colours(arms)
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure = _figure(5.6, 4.2)
        axes = figure.subplots()
        for arm, estimates in arms.items():
            x, y = estimates.in_domain_mean, estimates.ood_mean
            if arm == "base":
                axes.axvline(100 * x.mean, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
                axes.axhline(100 * y.mean, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.errorbar(
                100 * x.mean,
                100 * y.mean,
                xerr=[[100 * (x.mean - x.ci95[0])], [100 * (x.ci95[1] - x.mean)]],
                yerr=[[100 * (y.mean - y.ci95[0])], [100 * (y.ci95[1] - y.mean)]],
                fmt="o",
                markersize=7,
                linewidth=1.4,
                color=colours[arm],
            )
            axes.annotate(
                arm_label(arm),
                (100 * x.mean, 100 * y.mean),
                xytext=(7, 7),
                textcoords="offset points",
                color=colours[arm],
                fontweight="bold",
            )
        axes.margins(0.14)
        axes.set_xlabel("in-domain mean (%)")
        axes.set_ylabel("out-of-domain mean (%)")
    return figure


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element for the page; `name` keeps its inner references apart from other figures'."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # HTML knows the namespaces; group ids and metadata serve editors only.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for colour, variable in CSS_VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg


def _figure(width: float, height: float) -> Figure:
    # Figures are made without pyplot, which would keep every one of them alive.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _curve(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    """The recorded values, faint, under their running mean over about a tenth of the steps."""
    # Odd, so that the mean stands at the middle of its window.
    window = 2 * (len(values) // 20) + 1
    if window == 1:
        axes.plot(steps, values, color=colour, linewidth=1.5)
        return
    axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    centred = steps[window // 2 : window // 2 + len(smooth)]
    axes.plot(centred, smooth, color=colour, linewidth=1.8)


def _say_nothing_recorded(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
