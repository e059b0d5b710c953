#!/bin/sh
# Makes the certificates of the tests and of the benchmark anew; needs the openssl command. They are valid for a hundred
# years and worth nothing anywhere else.
#
#   authority.pem    who signs the others
#   server.pem       localhost, 127.0.0.1, ::1; with its key
#   other.pem        other.test, with its key
#   client.pem       for clients, with its key
#   stranger.pem     localhost, with its key, signed by itself
set -e
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$scratch/$1.key"; }

signed() { # name, common name, extensions
    key "$1"
    printf '%s\n' "$3" 'basicConstraints=CA:FALSE' > "$scratch/$1.ext"
    openssl req -new -key "$scratch/$1.key" -subj "/CN=$2" -out "$scratch/$1.csr"
    openssl x509 -req -in "$scratch/$1.csr" -CA authority.pem -CAkey "$scratch/authority.key" \
        -CAserial "$scratch/serial" -CAcreateserial -days 36500 -extfile "$scratch/$1.ext" -out "$scratch/$1.crt" 2>/dev/null
    cat "$scratch/$1.key" "$scratch/$1.crt" > "$1.pem"
}

key authority
openssl req -x509 -new -key "$scratch/authority.key" -subj '/CN=authority of the tests' -days 36500 -out authority.pem \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
signed server localhost 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1'
signed other other.test 'subjectAltName=DNS:other.test'
signed client 'a client' 'extendedKeyUsage=clientAuth'
key stranger
openssl req -x509 -new -key "$scratch/stranger.key" -subj /CN=localhost -days 36500 -out "$scratch/stranger.crt" \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1'
cat "$scratch/stranger.key" "$scratch/stranger.crt" > stranger.pem
