#!/bin/sh
# Create the environment .venv: `sh scripts/setup.sh run` installs the dependencies, `dev` also the development tools.
# Each step is printed. A step that fails is reported with its likely cause and remedy. A finished set-up is not repeated.
set -u
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME
PIP_USER=0 && export PIP_USER

kind=${1:-run}
python=${PYTHON:-python3}
venv=.venv
log=$venv/setup.log
case $kind in
run) lock=requirements.lock what="what Flowport needs to run" ;;
dev) lock=requirements-dev.lock what="Flowport's needs and the development tools" ;;
*) echo "usage: $0 run|dev" >&2 && exit 2 ;;
esac

# Print a step.
step() {
  current="step $1 of 4, $2"
  printf '[%s/4] %s\n' "$1" "$3"
}

# Exit with the step, its last lines of output, the likely cause and the remedy.
fail() {
  {
    printf '\nSet-up failed at %s.\n' "$current"
    if [ -s "${output:-}" ]; then tail -n 8 "$output" | sed 's/^/    /;s#//[^/@ ]*@#//#g'; fi
    printf 'Likely cause: %s\nRemedy: %s\n' "$1" "$2"
    if [ "${output:-}" = "$log" ]; then printf 'The whole output is in %s.\n' "$log"; fi
  } >&2
  exit 1
}

# Fail with the cause that pip's output shows.
explain() {
  if has 'No space left on device|Disk quota exceeded|not enough space'; then
    fail "the disk is full." "free about 500 MB here and in the folder for temporary files, then run it again."
  elif has 'DO NOT MATCH THE HASHES'; then
    fail "a downloaded file is not the one that $lock names: a damaged download, or a package index that changed it." \
      "run it again with PIP_NO_CACHE_DIR=1; if it stays, use another package index."
  elif has 'require-hashes mode|must have their versions pinned'; then
    fail "a setting of pip, such as a constraints file, asks for a package that $lock does not hold." \
      "run it again with PIP_CONFIG_FILE=/dev/null; if it stays, $lock is incomplete: please report it."
  elif has 'CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerification|invalid path: .*\.(pem|crt)|TLS CA certificate'; then
    fail "the certificate of the package index is not trusted, as behind a company's proxy." \
      "set PIP_CERT to the file with your company's certificates, then run it again."
  elif has '(401|403|407) (Client )?Error|Proxy Authentication|User for '; then
    fail "the package index or the proxy refuses you." "check the user name and password in pip's settings (pip config list)."
  elif has 'NewConnectionError|Connection refused|ConnectTimeout|timed out|name resolution|not known|nodename nor servname|getaddrinfo failed|Network is unreachable|No route to host|ProxyError|Max retries|Connection (aborted|broken|reset)|RemoteDisconnected|IncompleteRead|from versions: none'; then
    fail "the package index cannot be reached, or is not a package index${PIP_INDEX_URL:+ (PIP_INDEX_URL names your own)}." \
      "check the network and the proxy (HTTPS_PROXY, pip config list), then run it again; it goes on where it stopped."
  elif has 'No matching distribution|Could not find a version|404 Client Error'; then
    fail "the package index does not offer a release that $lock names${PIP_INDEX_URL:+ (PIP_INDEX_URL names your own)}, or offers none for this Python." \
      "use a complete package index (pip config list), and a released Python from 3.11 on."
  elif has 'Failed building|subprocess-exited-with-error|metadata-generation-failed'; then
    fail "a package has no ready-made file for this Python or system, and could not be built." \
      "use another Python from 3.11 on: make $goal PYTHON=python3.13."
  elif has 'Permission denied|Read-only file system|Operation not permitted'; then
    fail "this folder, or pip's, may not be written to." "check who owns this folder and $venv, then run it again."
  fi
  fail "unknown; see the output." "delete $venv and run it again; if it stays, please report the output."
}

has() { grep -Eiq "$1" "$output"; }

# Print a checksum of what the set-up depends on. It is out of date when a lock changed or the folder was moved.
get_key() { { pwd -P && cat "$1" pyproject.toml; } | cksum; }

is_done() { [ "$(cat "$venv/.$1" 2>/dev/null)" = "$(get_key "$2")" ] && "$venv/bin/python" -c '' 2>/dev/null; }

goal=$([ "$kind" = run ] && echo setup || echo test)
if is_done "$kind" "$lock"; then
  printf 'Set-up: %s is up to date.\n' "$venv"
  exit 0
fi

output=$(mktemp) || exit 1
trap 'rm -f "$temporary"' EXIT
temporary=$output

step 1 "Python" "Look for Python 3.11 or newer: $python"
"$python" -c 'import sys; print("ok" if sys.version_info >= (3, 11) else "old", *sys.version_info[:3])' >"$output" 2>&1
case $(cat "$output") in
"ok "*) ;;
*)
  found=$("$python" --version 2>&1 | head -n 1)
  : >"$output"
  for other in python3.14 python3.13 python3.12 python3.11; do
    if [ "$("$other" -c 'print("ok")' 2>/dev/null)" = ok ]; then
      fail "$python is not Python 3.11 or newer: ${found:-it does not start}." "run: make $goal PYTHON=$other"
    fi
  done
  fail "$python is not Python 3.11 or newer: ${found:-it does not start}." \
    "install Python 3.11 or newer; if it has another name, run: make $goal PYTHON=that-name"
  ;;
esac
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
if ! "$python" -c 'import ssl, sqlite3' >"$output" 2>&1; then
  fail "this Python was built without a part that Flowport needs." \
    "use another Python, or install the headers of OpenSSL and SQLite and build it again; then: make $goal PYTHON=that-name"
fi

step 2 "the environment" "Make the environment $venv with Python $version"
if ! "$python" -c 'import venv, ensurepip' >"$output" 2>&1; then
  fail "this Python has no module for environments; Debian and Ubuntu keep it in a package of its own." \
    "run: sudo apt install python3-venv; or use another Python: make $goal PYTHON=that-name"
fi
expected=$("$python" -c 'import sys; print(sys.version_info[:2])')
if [ "$("$venv/bin/python" -c 'import pip, sys; print(sys.version_info[:2])' 2>/dev/null)" != "$expected" ]; then
  if [ -e "$venv" ]; then echo "      It replaces one that does not work, or has another Python."; fi
  "$python" -m venv --clear "$venv" >"$output" 2>&1 || explain
fi
rm -f "$venv/.run" "$venv/.dev"

step 3 "the packages" "Install $what: $(grep -c == "$lock") packages of $lock, a minute or so"
output=$log
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off --require-hashes -r "$lock" \
  >"$log" 2>&1 || explain

# Python 3.11 puts it into each environment (10 MB); Flowport is built without it.
grep -q '^setuptools==' "$lock" || "$venv/bin/python" -m pip uninstall --quiet --yes setuptools >>"$log" 2>&1 || explain

step 4 "Flowport" "Install Flowport itself, from this folder"
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps --no-build-isolation -e . \
  >"$log" 2>&1 || explain

get_key requirements.lock >"$venv/.run"
if [ "$kind" = dev ]; then get_key "$lock" >"$venv/.dev"; fi
printf 'Set-up is done: %s/bin/flowport\n' "$venv"
