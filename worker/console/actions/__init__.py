"""What operators do with dead letters in the console: each action is previewed, confirmed, and run in the server."""
