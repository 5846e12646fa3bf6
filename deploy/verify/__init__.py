"""Checks all files of deployment without a cluster: `python -m deploy.verify`."""
