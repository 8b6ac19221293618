"""Who uses the console: by the headers of a trusted proxy, or by a sign-in with OpenID Connect."""
