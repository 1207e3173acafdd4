"""Measure the promises about speed and size. Figures are ratios within one run, so any machine will do."""

import argparse
import sys

from budget_cost import measure_budget_cost
from cluster_steps import measure_cluster_steps
from commands import measure_commands
from failed_reads import measure_failed_reads
from figures import Figure, print_figures
from http_ping import measure_http_ping
from large_text import measure_large_text
from learning import measure_learning
from learning_sandbox import measure_learning_sandbox
from long_list import measure_long_list
from memory import measure_memory
from pinging import measure_pinging
from schedule import measure_schedule
from schedule_both import measure_schedule_both
from schedule_sandbox import measure_schedule_sandbox
from schedule_webhooks import measure_schedule_webhooks
from side_by_side import measure_side_by_side
from sizes import measure_sizes
from starts import PAIRS, measure_starts
from store_cost import measure_store_cost
from waiting_calls import measure_waiting_calls

PARTS = {
    "starts": measure_starts,
    "commands": measure_commands,
    "sizes": measure_sizes,
    "budget_cost": measure_budget_cost,
    "failed_reads": measure_failed_reads,
    "http_ping": measure_http_ping,
    "waiting_calls": measure_waiting_calls,
    "large_text": measure_large_text,
    "pinging": measure_pinging,
    "store_cost": measure_store_cost,
    "cluster_steps": measure_cluster_steps,
    "long_list": measure_long_list,
    "memory": measure_memory,
    "side_by_side": measure_side_by_side,
    "schedule": measure_schedule,
    "schedule_sandbox": measure_schedule_sandbox,
    "schedule_both": measure_schedule_both,
    "schedule_webhooks": measure_schedule_webhooks,
    "learning": measure_learning,
    "learning_sandbox": measure_learning_sandbox,
}


def main() -> int:
    """Print the table of the parts that the arguments name, or of all; return 1 when a figure is missed."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--pairs", type=int, default=PAIRS, help="how many pairs of starts `starts` compares")
    flags = parser.parse_args()
    figures: list[Figure] = []
    for name in flags.parts or PARTS:
        figures += measure_starts(flags.pairs) if name == "starts" else PARTS[name]()
    print_figures(figures)
    return 0 if all(figure.is_reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
