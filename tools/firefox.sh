#!/usr/bin/env bash
# Prints the path of a Firefox: $FIREFOX, or the first one found.
set -euo pipefail
for name in ${FIREFOX:+"$FIREFOX"} firefox-esr firefox; do
  command -v "$name" && exit
done
echo 'set-up: no Firefox found. Install one (apt-get install -y firefox-esr) or set FIREFOX to its path.' >&2
exit 1
