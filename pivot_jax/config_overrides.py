"""`--section.key value` options of the command line over a config from files."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_files import check_arms


def override(config: Config, options: Sequence[str]) -> Config:
    """The config with `--section.key value` options over it; ConfigError says what is wrong with them."""
    import tyro

    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            overridden = tyro.cli(
                Config, default=config, args=list(options), prog="pivot-jax STAGE CONFIG...", console_outputs=True,
                # an optional section is one that a file sets or leaves out, not a subcommand
                config=(tyro.conf.AvoidSubcommands,),
            )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"overrides: {error}") from error
    except SystemExit as stop:
        if stop.code == 0:  # --help among the options
            print(told.getvalue())
            raise
        hint = "\n  an arm's tables take only keys that a config file sets" if "--arms." in " ".join(options) else ""
        if config.sampling_mesh is None and "--sampling-mesh." in " ".join(options):
            hint = "\n  sampling_mesh is set by a config file that has a section [sampling_mesh]"
        raise ConfigError(_plain(told.getvalue()) + hint) from None
    check_arms(overridden, "overrides")
    return overridden


def _plain(box: str) -> str:
    """tyro's boxed message as plain lines; what a section refuses as `section.key: reason (got value)`."""
    lines = [line.strip("╭╮╰╯│─- ") for line in box.splitlines()]
    text = " ".join(line for line in lines if line)
    if broken := re.search(r"Value error, (.*?) \[type=value_error", text):
        return f"overrides: {broken.group(1)}"
    refused = re.search(
        r"Error parsing ([\w.-]+): .*? for \w+ (\w+) (.*?) \[type=.*?input_value=(.*?), input_type", text
    )
    if refused:
        section, key, reason, value = refused.groups()
        return f"overrides: {section}.{key}: {reason} (got {value})"
    return "overrides: " + "\n  ".join(line for line in lines if line)
