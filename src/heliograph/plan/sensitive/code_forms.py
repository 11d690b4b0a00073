"""How source code, queries, patterns and commands can be told from prose and from the words of a plan."""

from __future__ import annotations

import re
from typing import Final

FORMS: Final = {
    "SQL, asking": r"\bselect\b.+\bfrom\b|\bunion\s+(?:all\s+)?select\b|\bwhere\b.+[=<>]",
    "SQL, changing": r"\binsert\s+into\b|\bdelete\s+from\b|\bupdate\b.+\bset\b.+=",
    "SQL, defining": r"\b(?:create|alter|drop)\s+(?:table|user|view|index|database)\b",
    "Cypher": r"\bmatch\s*\(.*\)\s*return\b",
    "GraphQL": r"\bquery\s*\w*\s*\{|\bmutation\s*\w*\s*[({]",
    "a definition": r"\b(?:def|func|function|fn|class|struct|interface|impl|sub|void|public|private|static)"
    r"\s+\w+\s*[({:<]",
    "a condition": r"\b(?:if|for|while|switch|catch)\s*\(.+\)",
    "a variable": r"\b(?:let|var|const|val)\s+\w+\s*(?::\s*\w+\s*)?=",
    "a result": r"\breturn\s+[\w\"'(\[{].*;",
    "an import": r"^\s*import\s+[\w.{}*, ]+(?:;|\s+from\b.*)?$|^\s*from\s+[\w.]+\s+import\b"
    r"|#include\s*[<\"]|\bpackage\s+\w+;",
    "a call": r"\b\w+(?:\.\w+)*\([^()]*\)\s*(?:[;{.]|$)",
    "an operator": r"\b\w+\s*(?:==|!=|:=|\+=|=>|->|&&|\|\|)\s*\S|\b\w+\s=\s.*;|::\w",
    "a block": r"[{;]\s*$|^\s*[}\])]+\s*;?\s*$",
    "a comment": r"(?:^|\s)//\s|^\s*(?:/\*|#!)",
    "markup": r"<\?php|<!DOCTYPE|</?[a-z]+(?:\s[^<>]*)?/?>",
    "JSON": r"\{\s*\"[^\"]+\"\s*:",
    "a regular expression": r"\\[bdswBDSW](?![a-z])|\.\*|\.\+[^A-Za-z0-9]|\(\?[:=!<P]"
    r"|\[\^?(?:[a-zA-Z0-9]-[a-zA-Z0-9])+\]",
    "a search": r"(?:^|\s)-?(?:repo|r|file|f|lang|language|type|author|rev|context|content|patterntype|org|path|user"
    r"|is|label|select|case|count):\S",
    "a variable of a shell": r"\$\{\w+\}|\$\(\w|\$[A-Z_]{3,}",
    "a pipe": r"\|\s*(?:grep|awk|sed|sh|bash|xargs|sort|jq|tee)\b",
    "a command": r"\b(?:sudo\s|rm\s+-|curl\s+-|git\s+(?:clone|push|checkout|commit)\b|docker\s+(?:run|exec)\b"
    r"|kubectl\s+\w|chmod\s+\d|npm\s+(?:i|install|run)\b)",
}
"""By what it is."""

CODE: Final = re.compile("|".join(FORMS.values()), re.IGNORECASE | re.MULTILINE)
