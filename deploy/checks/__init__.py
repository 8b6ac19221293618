"""`make check-deploy`: what is to be deployed, judged by the tools of those who will run it."""
