"""`make check-deploy`: check the manifests, the image and the alert rules with the tools that operators use."""
