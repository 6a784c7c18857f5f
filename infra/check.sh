#!/usr/bin/env bash
# Every check of infra/, .github/ and azure.yaml that this machine can run; names those that it cannot.
#   infra/check.sh [--without-tests] [--require-compiler]
# --without-tests leaves out tests/infra, for where all tests run anyway. --require-compiler fails where there is no Bicep
# compiler on the PATH, as CI=true does; without it, a laptop without one is only told what was left out.
set -euo pipefail
cd "$(dirname "$0")/.."
export ALERT_EMAIL=${ALERT_EMAIL:-check@example.com} # main.bicepparam reads it
require_tests=true
require_compiler=${CI:-false}
for argument in "$@"; do
    case $argument in
        --without-tests) require_tests=false ;;
        --require-compiler) require_compiler=true ;;
        *) echo "unknown argument: $argument" >&2; exit 2 ;;
    esac
done
left_out=()

if ! command -v bicep >/dev/null && [ "$require_compiler" = true ]; then
    echo "There is no Bicep compiler on the PATH: install one (az bicep install, then add ~/.azure/bin to the PATH)." >&2
    exit 1
fi

step() { echo "== $*"; }

checkov_environment() {
    local requirements=infra/requirements-checkov.txt stamp=.venv-checkov/.installed
    if cmp -s $requirements $stamp; then return; fi
    echo "Setting up .venv-checkov (takes a minute the first time) ..." >&2
    .venv/bin/python -m venv --clear .venv-checkov
    .venv-checkov/bin/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --requirement $requirements
    cp $requirements $stamp
}

# checkov ends well even where it could not read a file or a policy broke, and so had looked at nothing.
policies() {
    local report deployed
    deployed=$(mktemp -d)
    .venv/bin/python -m tests.infra.snapshots private >"$deployed/private.json"
    report=$(.venv-checkov/bin/checkov --config-file infra/.checkov.yaml --directory "$deployed" 2>&1) || { echo "$report"; return 1; }
    if grep -qE 'Failed to run check|Parsing errors: [1-9]' <<<"$report" || ! grep -qE 'Passed checks: [1-9]' <<<"$report"; then
        echo "$report"
        echo "checkov could not look at everything" >&2
        return 1
    fi
    grep -o 'Passed checks.*' <<<"$report"
}

# $1: a command that prints findings. Bicep's warnings do not fail it, so any output does.
without_finding() {
    local output
    output=$("$@" 2>&1) || { echo "$output"; return 1; }
    if [ -n "$output" ]; then echo "$output"; return 1; fi
}

if [ "$require_tests" = true ]; then
    step "facts of the templates, queries, azure.yaml and workflows (tests/infra)"
    .venv/bin/python -m pytest tests/infra
fi

step "security policies (checkov)"
checkov_environment
policies

step "workflows (their published schema, zizmor)"
.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
.venv/bin/zizmor --offline --quiet --persona=pedantic .github

schema=https://raw.githubusercontent.com/Azure/azure-dev/main/schemas/v1.0/azure.yaml.json
step "azure.yaml against its published schema"
if curl --silent --fail --max-time 10 --output /dev/null "$schema"; then
    .venv/bin/check-jsonschema --schemafile "$schema" azure.yaml
else
    left_out+=("azure.yaml against its published schema: $schema cannot be reached")
fi

step "Bicep compiler, linter and formatter"
if command -v bicep >/dev/null; then
    compiled=$(mktemp -d)
    without_finding bicep build infra/main.bicep --outfile "$compiled/main.json"
    without_finding bicep build-params infra/main.bicepparam --outfile "$compiled/parameters.json"
    without_finding bicep lint infra/main.bicep
    without_finding bicep lint infra/main.bicepparam
    for file in infra/*.bicep* infra/modules/*.bicep; do
        [ "$file" != infra/bicepconfig.json ] || continue
        bicep format "$file" --outfile "$compiled/formatted"
        diff --unified "$file" "$compiled/formatted" || { echo "not formatted: bicep format $file" >&2; exit 1; }
    done
else
    left_out+=("bicep build, build-params, lint, format; snapshots against templates: no Bicep compiler on the PATH (az bicep install)")
fi

for check in "${left_out[@]}"; do echo "NOT CHECKED HERE  $check"; done
echo "NOT CHECKED HERE  what only a deployment shows: see the checklist in docs/deploy.md"
