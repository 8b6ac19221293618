"""`make release`: sdist, wheel, Helm chart and SBOM of the commit, built twice and compared. It publishes nothing."""
