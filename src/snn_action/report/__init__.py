"""What a finished run has to say: read its folder, draw its figures, write its page, compare it with others."""

from snn_action.report.comparison import compare_runs, make_table, show_runs, write_comparison
from snn_action.report.finished_run import FinishedRun, read_run
from snn_action.report.html import write_report
from snn_action.report.summary import describe_metrics

__all__ = [
    "FinishedRun",
    "compare_runs",
    "describe_metrics",
    "make_table",
    "read_run",
    "show_runs",
    "write_comparison",
    "write_report",
]
