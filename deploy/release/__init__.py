"""`make release`: sdist, wheel and SBOM of the current commit, built twice and compared. It publishes nothing."""
