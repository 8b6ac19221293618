"""`python -m deploy.local explore`: the local stack with a month of executions to query."""
