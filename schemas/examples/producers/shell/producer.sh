#!/bin/sh
# Sends one event of an execution that has just finished, and prints its execution_id.
# metrics-worker produce takes the key from the event and waits until every in-sync replica has it.
set -eu
execution_id=$(cat /proc/sys/kernel/random/uuid)
printf '{"execution_id": "%s", "agent_name": "example-shell", "completed_at": "%s", "labels": {"gen_ai.request.model": "large-2", "service.version": "2026.11.0"}, "metrics": {"execution_time_ms": %d, "cost_usd": %s, "result_success": %s}}\n' \
    "$execution_id" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" 1840 0.0132 true | metrics-worker produce -
echo "$execution_id"
