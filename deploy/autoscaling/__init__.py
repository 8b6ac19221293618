"""A simulation of how KEDA scales the workers, with the numbers of the manifests; see `__main__`."""
