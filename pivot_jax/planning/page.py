"""The plan as one page of Markdown: the verdict first, then the tables, then what was assumed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pivot_jax.planning.advice import Change
from pivot_jax.planning.chips import BANDWIDTH_SHARE, LINK_SHARE, MATMUL_SHARE, Chip
from pivot_jax.planning.compiled import Compiled
from pivot_jax.planning.memory import Moment
from pivot_jax.planning.timing import Seconds
from pivot_jax.planning.verdict import Verdict, name, program_total
from pivot_jax.planning.work import Phase
from pivot_jax.planning.workload import Layout, Workload
from pivot_jax.policy.spec import count_active_parameters, count_parameters

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """Everything that the page tells."""

    command: str
    work: Workload
    chip: Chip
    moments: tuple[Moment, ...]
    phases: tuple[Phase, ...]
    seconds: tuple[Seconds, ...]
    compiled: Sequence[Sequence[Compiled]]
    verdict: Verdict
    largest: int
    change: tuple[tuple[Change, ...], int] | None
    """What to change and the bytes then; None where it fits, or where nothing was found."""
    effort: str


def page(plan: Plan) -> str:
    """Markdown, a section a question."""
    sections = [
        f"# Plan of one step\n\n    {plan.command}\n\n{told(plan)}",
        f"## The step\n\n{_step(plan)}",
        f"## Bytes of one device, by the account (GiB)\n\n{_account(plan)}",
        f"## What a compiler says\n\n{_compilers(plan)}",
        f"## Collectives of one device\n\n{_collectives(plan)}",
        f"## Model FLOPs and predicted time\n\n{_work(plan)}",
        f"## Assumed\n\n{_assumptions(plan)}",
    ]
    return "\n\n".join(sections) + "\n"


def told(plan: Plan) -> str:
    """The verdict in words, and what to do."""
    verdict, work = plan.verdict, plan.work
    share = f"{gib(verdict.needed)} of {gib(verdict.usable)} GiB a device ({verdict.decided_by})"
    largest = (
        f"By the account, the most pivots a step that fit, in parts as small as the mesh allows: {plan.largest} "
        f"(the config has {work.pivots})."
        if plan.largest else "By the account, not even the fewest pivots that the mesh divides fit."
    )  # fmt: skip
    if verdict.fits:
        margin = 1 - verdict.needed / verdict.usable
        return f"**It fits**, with a margin of {margin:.0%}: {share}. {largest}"
    lines = f"**It does not fit**: {share}. {largest}"
    if plan.change is None:
        return f"{lines} No change that was tried makes it fit on these devices; take more of them."
    some, total = plan.change
    made = "; ".join(change.label for change in some)
    return f"{lines} Change, fewest first: **{made}**; then it is {gib(total)} GiB by the account."


def _step(plan: Plan) -> str:
    work, arch, config = plan.work, plan.work.arch, plan.work.config
    active = f", {count_active_parameters(arch):,} of them met by a token" if arch.experts else ""
    trained = f"adapters of rank {config.lora.rank}" if config.lora.rank else "all of it"
    sampled = "the same mesh" if work.sample == work.train else axes(work.sample)
    return table(("what", "value"), [
        ("policy", f"{config.policy.path}: {count_parameters(arch):,} parameters{active}; compute in {arch.dtype}"),
        ("trained", trained),
        ("devices", f"{work.train.devices} x {plan.chip.name}"),
        ("mesh", axes(work.train)),
        ("sampling on", sampled),
        ("a step", f"{work.pivots} pivots x {work.group} actions, in {work.rows} rows of {work.trunk:,} state tokens "
                   f"and {work.group} branches of {work.branch:,} tokens"),
        ("the update", f"in {config.train.micro_batches} parts of {work.part} rows; remat {arch.remat}"),
    ])  # fmt: skip


def _account(plan: Plan) -> str:
    names = list(dict.fromkeys(term.name for moment in plan.moments for term in moment.terms))
    rows = []
    for term_name in names:
        held = [sum(term.bytes for term in moment.terms if term.name == term_name) for moment in plan.moments]
        rows.append((term_name, *(gib(value) if value else "" for value in held)))
    rows.append(("**all**", *(f"**{gib(moment.total)}**" for moment in plan.moments)))
    return table(("", *(name(moment) for moment in plan.moments)), rows)


def _compilers(plan: Plan) -> str:
    programs = {"update": "`update` (`grpo_update`)", "rollout": "`rollout` (`sample_branches`)"}
    rows = []
    for one in (one for told in plan.compiled for one in told):
        when = "earlier, cached" if one.cached else f"{one.seconds:.0f} s"
        if one.error:
            rows.append((programs[one.program], one.compiler, when, "", "", "", one.error.replace("|", "/")))
            continue
        beside = gib(program_total(plan.work, one, plan.chip)) if one.is_tpu else "not a device's"
        rows.append((
            programs[one.program], one.compiler, when, gib(one.arguments),
            gib(one.temporaries + one.results + one.code), beside, "",
        ))  # fmt: skip
    if not rows:
        return "Not asked (`--no-compile`)."
    head = ("program", "compiler", "took", "arguments, GiB", "temporaries, GiB", "with what stands beside it, GiB", "")
    return table(head, rows) + "\n\n" + _which(plan)


def _which(plan: Plan) -> str:
    """Whose numbers these are, and which of them decide."""
    every = [one for told in plan.compiled for one in told]
    by_tpu = [one.program for one in every if one.is_tpu and (one.peak or one.needed)]
    rest = [one.program for one in every if not one.is_tpu]
    lines = []
    if by_tpu:
        effort = "its lowest effort (`--full-effort`: its usual one)" if plan.effort == "low" else "its usual effort"
        lines.append(
            f"**The TPU compiler**, for the topology without any chip and at {effort}: {_listed(by_tpu)}. Its memory "
            "is that of a chip, and decides."
        )
    if rest:
        asked = any(one.is_tpu for one in every)
        why = (
            "the TPU compiler gave no answer (above)" if asked
            else "libtpu is not installed (extra `tpu`)" if plan.chip.tpu and plan.work.config.mesh.topology
            else "no compiler for this chip runs here"
        )  # fmt: skip
        lines.append(
            f"**XLA for host devices**, as {why}: {_listed(rest)}. The collectives are the partitioner's, though a CPU "
            "computes bfloat16 in float32, so some carry up to twice the bytes. Its memory is a CPU's: the account "
            "decides."
        )
    return "\n\n".join(lines)


def _listed(programs: Iterable[str]) -> str:
    return " and ".join(f"`{program}`" for program in programs)


def _collectives(plan: Plan) -> str:
    whole = {"update": "update", "rollout": "rollout: prefill"}
    rows = [
        (label, kind, f"{total.count:,}", gib(total.payload), gib(total.wire))
        for one in counted(plan.compiled)
        for label, found in ((whole[one.program], one.collectives), (f"{one.program}: each token", one.each_round))
        for kind, total in found.items()
    ]
    if not rows:
        return "None in the programs, or not compiled."
    return table(("program", "kind", "count", "payload, GiB", "sent by a ring, GiB"), rows)


def counted(compiled: Sequence[Sequence[Compiled]]) -> list[Compiled]:
    """Of each program, the compilation that ended: the TPU compiler's, or else the host's."""
    ended = [[one for one in told if not one.error] for told in compiled]
    return [told[0] for told in ended if told]


def _work(plan: Plan) -> str:
    seconds = {one.phase: one for one in plan.seconds}
    rows = []
    for phase in plan.phases:
        time = seconds.get(phase.name)
        parts = ("",) * 4 if time is None else (
            f"{time.arithmetic:.1f}", f"{time.memory:.1f}", f"{time.network:.1f}",
            f"{time.overlapped:.1f} to {time.apart:.1f}",
        )  # fmt: skip
        rows.append((phase.name, f"{phase.flops:.3g}", *parts))
    step = [phase for phase in plan.phases if phase.name in seconds]
    if step:
        low, high = sum(one.overlapped for one in plan.seconds), sum(one.apart for one in plan.seconds)
        rows.append(
            ("**a step**", f"{sum(phase.flops for phase in step):.3g}", "", "", "", f"**{low:.0f} to {high:.0f}**")
        )
    head = ("phase", "model FLOPs", "arithmetic, s", "memory, s", "network, s", "all hidden to none hidden, s")
    return table(head, rows)


def _assumptions(plan: Plan) -> str:
    chip, config = plan.chip, plan.work.config
    lines = [
        f"states of {config.plan.state_tokens:,} tokens and actions of all {config.sampling.max_new_tokens:,} new "
        f"tokens: the longest, not the mean; {config.plan.turns} turns a trajectory, each profiled "
        f"{config.profile.samples} times (sections plan, sampling, profile)",
        "parameters, moments and gradients are float32, placed by the mesh's rules; what a block works with is an "
        "estimate",
    ]
    if chip.known:
        lines += [
            f"{chip.name}: {chip.matmul_flops / 1e12:.0f} TFLOP/s in bfloat16, {gib(chip.usable)} GiB usable of "
            f"{chip.memory}, {chip.bandwidth / 1e9:,.0f} GB/s of memory, {chip.link / 1e9:.0f} GB/s sent by its links",
            f"reached: {MATMUL_SHARE:.0%} of the arithmetic, {BANDWIDTH_SHARE:.0%} of the memory's rate, "
            f"{LINK_SHARE:.0%} of the links'; verifiers, the host, and the slow network between slices or hosts are "
            "left out",
        ]
    else:
        lines.append("host devices share this machine's memory; no time is predicted for them")
    return "\n".join(f"* {line}" for line in lines)


def axes(place: Layout) -> str:
    """`data 1, fsdp 16, ...`."""
    return ", ".join(f"{axis} {size}" for axis, size in place.mesh.shape.items())


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def gib(value: float) -> str:
    """Bytes in GiB: three digits where there are any."""
    amount = value / GIB
    return f"{amount:.1f}" if amount >= 9.95 else f"{amount:.2f}" if amount >= 0.095 else f"{amount:.3g}"
