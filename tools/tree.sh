#!/usr/bin/env bash
# The name of the tree as it is committed; nothing where something is changed, or where there is no git.
cd "$(dirname "$0")/.." || exit 0
if status=$(git status --porcelain 2>/dev/null) && [ -z "$status" ]; then
  git rev-parse 'HEAD^{tree}'
fi
