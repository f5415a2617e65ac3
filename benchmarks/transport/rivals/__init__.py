"""What a user would write instead: one script for each framework, run by an interpreter that has it.

They import nothing of ours. Each reads events from the beginning of a topic, adds a verdict that costs nothing, and
writes the result under the same key. Variables: BENCH_BROKERS, BENCH_INPUT, BENCH_OUTPUT, BENCH_GROUP, BENCH_RECORDS
(records in a transaction or between two commits), BENCH_VERDICT (JSON).
"""
