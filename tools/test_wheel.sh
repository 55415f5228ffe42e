#!/usr/bin/env bash
# Builds the wheel, installs it into an environment of its own, and runs the unit tests against it, out of reach of the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
libraries=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

copy() { tar --null --files-from=- --create | tar --extract --directory "$1"; }

mkdir "$place/source" "$place/work"
git ls-files -z | copy "$place/source"
.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$place" "$place/source"
.venv/bin/python -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$place"/*.whl
# The same libraries, but not the checkout: .pth files of a folder that a .pth file names are not read.
echo "$libraries" > "$("$place/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/libraries.pth"

git ls-files -z | grep -zvE '^(agents|app|core|evaluation|graph|pada_agent|prompts|training)/' | copy "$place/work"
cd "$place/work"
"$place/venv/bin/python" -c 'import pada_agent, sys; sys.exit(not pada_agent.__file__.startswith(sys.prefix))'
"$place/venv/bin/pada" --version
# Tests that read the sources and the pages themselves have nothing to read here; `make test` runs them.
HOME=$(mktemp -d) "$place/venv/bin/python" -m pytest tests/unit --ignore tests/unit/test_documentation.py \
  --deselect tests/unit/core/test_lines.py::test_nothing_in_the_product_cuts_text_at_what_splitlines_takes_for_a_line_end "$@"
