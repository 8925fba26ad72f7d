#!/bin/sh
# run.sh FILE: runs a browser test, or ends with 77 (skipped) and says what is missing.
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
missing=
command -v node >/dev/null || missing="$missing node"
[ -x "$CHROMIUM" ] || missing="$missing chromium"
[ -d "$BROWSER_MODULES/playwright-core" ] || missing="$missing playwright-core"
if [ -n "$missing" ]; then
	echo "skipped, not installed:$missing"
	exit 77
fi
export CHROMIUM
export NODE_PATH="$BROWSER_MODULES"
exec node --test-reporter=tap "$1"
