#!/bin/sh
# Make the secret files of compose.yaml, once; what is there already is left as it is.
#
#   sh deploy/make-secrets.sh [FOLDER]      FOLDER: ./secrets
#
# Passwords are letters and digits only, because they stand in URLs, too.
set -eu

folder=${1:-secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"  # nobody else may enter; in there the containers' users must be able to read

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }

keep() {  # NAME: from standard input, unless it is there
    if [ -e "$folder/$1" ]; then
        cat > /dev/null
    else
        cat > "$folder/$1"
        echo "made $folder/$1"
    fi
    chmod 444 "$folder/$1"
}

random | keep redis_password
random | keep postgres_password
redis=$(cat "$folder/redis_password")
postgres=$(cat "$folder/postgres_password")
printf 'redis://:%s@redis:6379/0' "$redis" | keep DESKFEED_REDIS_URL
printf 'postgresql+psycopg://deskfeed:%s@postgres:5432/deskfeed' "$postgres" | keep DESKFEED_LEDGER_URL
printf 'first:%s' "$(key)" | keep DESKFEED_SPOOL_KEY
key | keep DESKFEED_HASH_KEY
printf 'deskfeed:%s' "$(random)" | keep FLOWER_BASIC_AUTH
# The sandbox's; it opens nothing else. Write yours there.
printf '{"socktown": {"email": "admin@socktown.example", "api_token": "sandbox-token"}}\n' |
    keep DESKFEED_CREDENTIALS
printf '{}\n' | keep DESKFEED_ALERTS

cat <<END

Flower's login is in $folder/FLOWER_BASIC_AUTH. Zendesk's credentials go into
$folder/DESKFEED_CREDENTIALS: {"NAME": {"client_id": "...", "client_secret": "..."}}
Who is told when something needs a person: $folder/DESKFEED_ALERTS: {"ops": "slack://..."}
(docs/alerts.md). To write into one: chmod u+w FILE
Keep a copy of DESKFEED_SPOOL_KEY and DESKFEED_HASH_KEY where the backups of the ledger are not:
without the first the kept rows in a backup cannot be read.
END
