#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# readme.sh SOURCE_DIR - every piece of C in the README is compiled and run by the tests: before each
# block stands a comment that names a file, and the block is in that file, letter by letter. Also:
# what the documents link to is there.
set -euo pipefail
cd "$1"

breaches=0
breach() {
    printf '%s\n' "$1"
    breaches=$((breaches + 1))
}

# compare LINE FILE BLOCK
compare() {
    local text

    if [[ -z $2 ]]; then
        breach "README.md:$1: no comment before the block says where it comes from"
    elif [[ ! -f $2 ]]; then
        breach "README.md:$1: there is no $2"
    else
        text=$(<"$2")$'\n'
        [[ $text == *"$3"* ]] || breach "README.md:$1: the block is not in $2 as it stands here"
    fi
}

number=0 blocks=0 start=0 file='' block='' inside=false
while IFS= read -r line; do
    number=$((number + 1))
    if $inside; then
        if [[ $line == '```' ]]; then
            inside=false
            blocks=$((blocks + 1))
            compare "$start" "$file" "$block"
            file=''
        else
            block+=$line$'\n'
        fi
    elif [[ $line == '```c' ]]; then
        inside=true start=$number block=''
    elif [[ $line =~ ^'<!-- '([a-z0-9_/]+\.c)' -->'$ ]]; then
        file=${BASH_REMATCH[1]}
    fi
done <README.md

# Links to files of the repository, in all documents.
while IFS=: read -r document number link; do
    link=${link#*\](}
    link=${link%%)*}
    link=${link%%#*}
    case $link in
    '' | http:* | https:*) continue ;;
    esac
    [[ -e $(dirname "$document")/$link ]] || breach "$document:$number: there is no $link"
done < <(grep -noE '\]\([^)]+\)' /dev/null ./*.md docs/*/*.md)

[[ $blocks -gt 0 ]] || breach "README.md: no block of C at all"
if [[ $breaches -gt 0 ]]; then
    printf '%d breaches\n' "$breaches"
    exit 1
fi
printf '%d blocks of C, all of them tested\n' "$blocks"
