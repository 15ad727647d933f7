"""`trader`: which command was meant, and how does it end?

Only the module of the command that was asked for is imported, so that help and errors come at once.
Whatever a command raises on purpose becomes one sentence on standard error and an exit code; standard
output carries results alone.
"""

import importlib
import sys
from collections.abc import Sequence

import typer

from shared.domain.errors import TradingError
from trader.exits import ExitCode, exit_code_of

PROGRAM = "trader"
HELP = """Run, watch and stop the trading system on this machine.

Example: trader demo
"""
# Command, the module that holds it as a command of its `app`, and what the overview says of it.
COMMANDS = {
    "demo": ("trader.commands.demo", "Run a trading session offline and watch it."),
    "up": ("trader.commands.lifecycle", "Start the system, or one service of it."),
    "down": ("trader.commands.lifecycle", "Stop the system, or one service of it."),
    "restart": ("trader.commands.lifecycle", "Stop and start the system, or one service of it."),
    "status": ("trader.commands.lifecycle", "Show which programs run."),
    "health": ("trader.commands.lifecycle", "Ask every program whether it is well."),
    "logs": ("trader.commands.lifecycle", "Show what the programs say."),
    "config": ("trader.commands.lifecycle", "Show or check the settings."),
    "doctor": ("trader.commands.checking", "Look whether this machine is fit for trading."),
    "stats": ("trader.commands.watching", "Show once what runs and what it uses."),
    "monitor": ("trader.commands.watching", "Watch what runs and how trading stands."),
    "shell": ("trader.commands.shells", "Open a shell: a service's, the database's, Redis'."),
    "build": ("trader.commands.housekeeping", "Make ready what is run."),
    "update": ("trader.commands.housekeeping", "Install or fetch anew what is run."),
    "prune": ("trader.commands.housekeeping", "Remove old logs and bars, never the ledger."),
    "db": ("trader.commands.database", "Set the database up or bring it up to date."),
    "backup": ("trader.commands.backups", "Keep the database, or market data and settings."),
    "restore": ("trader.commands.backups", "Put a backup back, or prove that it would."),
    "data": ("trader.commands.data", "Fetch, import, list and check market history."),
    "actions": ("trader.commands.actions", "Import and list splits and dividends."),
    "orders": ("trader.commands.trading", "List orders."),
    "positions": ("trader.commands.trading", "List positions."),
    "signals": ("trader.commands.trading", "List signals."),
    "halt": ("trader.commands.trading", "Stop all trading now."),
    "kill": (
        "trader.commands.kill",
        "Cancel everything at the broker, also while databases are down.",
    ),
    "resume": ("trader.commands.trading", "Let trading go on."),
    "flatten": ("trader.commands.trading", "Close every position."),
    "strategy": ("trader.commands.strategy", "Begin, list and show strategies."),
    "check": ("trader.commands.check", "Check what a strategy may not do."),
    "risk": ("trader.commands.risk", "Show what was at risk on a day."),
    "backtest": ("trader.commands.backtest", "Test a strategy on recorded bars."),
    "report": ("trader.commands.report", "Show a day's result, risk, costs and exceptions."),
    "costs": ("trader.commands.costs", "Show what trading cost beside what a backtest assumes."),
    "export": ("trader.commands.export", "Take trades, taxes and the audit chain out as files."),
    "audit": ("trader.commands.audit", "Check that nothing written was changed since."),
    "maintenance": ("trader.commands.live", "Let services answer and change nothing, or end that."),
    "jobs": ("trader.commands.jobs", "List, run, pause and resume the scheduler's jobs."),
    "pipeline": ("trader.commands.jobs", "Show how batches of bars went through the stages."),
    "why": ("trader.commands.explaining", "Explain how an order came about."),
    "why-not": ("trader.commands.explaining", "Explain why none did."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] not in (["halt"], ["kill"]):
        # Python passes on what is not UTF-8 as letters that no file, table or service takes.
        for word in words:
            if not word.isascii() and word.encode(errors="replace").decode() != word:
                return _fail(f"{word!a} is not UTF-8; write it so, or rename it", ExitCode.USAGE)
    try:
        code = _application(words)(args=words, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        # Typer's own code for wrong usage means "not found" here.
        return _fail(f"{error.format_message()} (see {PROGRAM} --help)", ExitCode.USAGE)
    except KeyboardInterrupt:
        return _fail("stopped; nothing more was done", ExitCode.INTERRUPTED)
    except typer.Abort:
        return _fail("stopped; nothing more was done", ExitCode.ERROR)
    except TradingError as error:
        return _fail(str(error), exit_code_of(error))
    except BrokenPipeError:
        # Whoever read our output has enough; Python would complain about it while it ends.
        sys.stderr.close()
        return ExitCode.ERROR
    return code if isinstance(code, int) else ExitCode.OK


def _application(words: Sequence[str]) -> typer.Typer:
    root = typer.Typer(
        name=PROGRAM,
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # A callback keeps this a group even while it has one command.
    root.callback()(lambda: None)
    asked = next((word for word in words if not word.startswith("-")), "")
    if asked in COMMANDS:
        module = importlib.import_module(COMMANDS[asked][0])
        root.registered_commands += module.app.registered_commands
        root.registered_groups += module.app.registered_groups
    else:
        for name, (_, overview) in COMMANDS.items():
            root.command(name, help=overview)(lambda: None)
    return root


def _fail(sentence: str, code: ExitCode) -> ExitCode:
    # What a file holds may stand in the sentence; it must not steer the terminal.
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in sentence)
    print(f"{PROGRAM}: {shown}", file=sys.stderr)
    return code
