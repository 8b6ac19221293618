"""`python -m deploy.autoscaling [FOLDER]`: print how KEDA would scale the workers over three days.

Compared are the rule of the manifests and KEDA's trigger on lag alone. With a folder, such as `deploy`, it also writes
the table into its `SCALE.md` and the picture to `pictures/autoscaling.svg`.
"""

import sys
from pathlib import Path

from deploy.autoscaling.report import render_picture, render_table
from deploy.markers import replace_between

BEGIN = "<!-- autoscaling:begin -->"
END = "<!-- autoscaling:end -->"
DOCUMENT = "SCALE.md"
PICTURE = "pictures/autoscaling.svg"


def main(folders: list[str]) -> None:
    """Print the table; write table and picture into each folder."""
    sys.stdout.write(f"{render_table()}\n")
    for folder in map(Path, folders):
        page = folder / DOCUMENT
        page.write_text(replace_between(page.read_text("utf-8"), BEGIN, END, render_table()), "utf-8")
        (folder / PICTURE).write_text(render_picture(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
