"""The Helm chart `deploy/helm/metrics-worker`, whose templates are generated from the kustomize tree."""
