#!/usr/bin/env bash
# Prints the path of a Chromium: $CHROMIUM, or the first one found.
set -euo pipefail
for name in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome google-chrome-stable; do
  command -v "$name" && exit
done
echo 'set-up: no Chromium found. Install one (apt-get install -y chromium) or set CHROMIUM to its path.' >&2
exit 1
