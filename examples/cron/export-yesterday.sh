#!/usr/bin/env bash
# Exports yesterday, or the given day. It prints nothing if that succeeds, so cron sends an email only after a failure.
# cron has no store for secrets, so the settings are in .env. The script refuses to run if other users can read that file.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ ! -f .env ] || [ -n "$(find .env -perm -040 -o -perm -004)" ]; then
    echo "$PWD/.env must exist and be readable by its owner only: chmod 600 .env" >&2
    exit 2
fi
status=0
said=$(.venv/bin/python -m local export "${1:-yesterday}" 2>&1) || status=$?
if [ "$status" -ne 0 ]; then echo "$said" >&2; fi
exit "$status"
