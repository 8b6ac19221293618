"""`python -m deploy.local.apache_kafka`: `fetch` the jars, or `pin` the digests of new ones."""

from __future__ import annotations

import sys

import click

from deploy.local.apache_kafka.jars import KafkaMissingError, ensure_jars, kafka_version, pin


@click.command()
@click.argument("what", type=click.Choice(["fetch", "pin"]))
def main(what: str) -> None:
    """Fetch the pinned jars, or pin the digests of the jars that Maven resolves."""
    try:
        if what == "pin":
            click.echo(f"{pin()} jars pinned", err=True)
        click.echo(f"Apache Kafka {kafka_version()} in {ensure_jars()}", err=True)
    except KafkaMissingError as error:
        click.echo(str(error), err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
