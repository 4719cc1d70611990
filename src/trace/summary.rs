//! Summaries of a trace: the numbers behind the charts.
