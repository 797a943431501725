"""`python -m release`: check that a tag fits, say what to mirror, make the files of a release."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from release.artifacts import build, images_of_chart, read_images
from release.errors import ReleaseError
from release.notes import notes, require_one_version

REPOSITORY = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="is this tag the version of package, chart, images and changelog?")
    check.add_argument("tag", help="like v0.1.0")
    commands.add_parser("bundle", help="every image that the chart may start, to be mirrored")
    told = commands.add_parser("notes", help="what the changelog says of a tag")
    told.add_argument("tag", help="like v0.1.0")
    made = commands.add_parser("build", help="wheel, source, chart, SBOMs, list of images, checksums")
    made.add_argument("--images", type=Path, required=True, help="JSON: operator, data, trainer, mlflow by digest")
    made.add_argument("--output", type=Path, default=Path("dist"), help="an empty or new folder (default: dist)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            require_one_version(REPOSITORY, options.tag)
        elif options.command == "bundle":
            print("\n".join(images_of_chart(REPOSITORY)))
        elif options.command == "notes":
            print(notes(REPOSITORY, options.tag))
        else:
            for path in build(REPOSITORY, read_images(options.images), options.output):
                print(path)
    except ReleaseError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
