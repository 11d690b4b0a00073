"""The formats of well-known credentials, as their issuers publish them or as public scanners agree on them.

Each pattern needs a prefix or a form that no word of a plan has. They are joined into one, so that a text is gone
through once.
"""

from __future__ import annotations

import re
from typing import Final

TOKENS: Final = {
    "AWS access key": r"(?:AKIA|ASIA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])",
    "AWS Bedrock key": r"ABSK[A-Za-z0-9+/]{40,}",
    "GitHub token": r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}",
    "GitLab token": r"gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent|oas|wt|ffct)-[A-Za-z0-9_=.-]{16,}|GR1348941[\w-]{20}",
    "Bitbucket token": r"ATBB[A-Za-z0-9_=]{24,}|BBDC-[A-Za-z0-9+/]{20,}",
    "Atlassian token": r"ATATT3[A-Za-z0-9_=-]{20,}",
    "Slack token": r"xox[abdeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}",
    "Slack hook": r"hooks\.slack\.com/(?:services|workflows|triggers)/\S{10,}",
    "Discord hook": r"discord(?:app)?\.com/api/webhooks/\d+/\S{20,}",
    "Telegram bot": r"\d{8,10}:AA[A-Za-z0-9_-]{32,}",
    "Stripe key": r"(?:sk|rk|pk)_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}",
    "Square token": r"sq0(?:atp|csp|idp)-[\w-]{20,}|EAAA[A-Za-z0-9_-]{60}",
    "Shopify token": r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",
    "Google API key": r"AIza[A-Za-z0-9_-]{30,}",
    "Google OAuth": r"ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}|\d{6,}-[a-z0-9]{32}\.apps\.googleusercontent",
    "JSON Web Token": r"eyJ[A-Za-z0-9_-]{8,}\.(?:eyJ|e30)[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*",
    "JSON in base64": r"eyJ[A-Za-z0-9_+/-]{12,}={0,2}",
    "npm token": r"npm_[A-Za-z0-9]{30,}",
    "PyPI token": r"pypi-AgE[A-Za-z0-9_-]{16,}",
    "RubyGems token": r"rubygems_[a-f0-9]{40,}",
    "Cargo token": r"cio[A-Za-z0-9]{32}(?![A-Za-z0-9])",
    "Docker token": r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}",
    "Hugging Face token": r"hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z0-9]{30,}",
    "OpenAI key": r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{32,}",
    "Anthropic key": r"sk-ant-[A-Za-z0-9_-]{16,}",
    "Sourcegraph token": r"sg[pdmw]_(?:[A-Za-z0-9]+_)?[A-Fa-f0-9]{32,}|slk_[a-f0-9]{32,}",
    "Vault token": r"hv[sbr]\.[A-Za-z0-9_-]{20,}|s\.[A-Za-z0-9]{24}(?![A-Za-z0-9])",
    "Terraform token": r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{20,}",
    "DigitalOcean token": r"do[opr]_v1_[a-f0-9]{32,}",
    "Databricks token": r"dapi[a-f0-9]{32}",
    "SendGrid key": r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "Mailgun key": r"key-[0-9a-f]{32}",
    "Mailchimp key": r"[0-9a-f]{32}-us\d{1,2}",
    "Twilio key": r"(?:AC|SK)[0-9a-f]{32}(?![0-9a-f])",
    "New Relic key": r"NR(?:AK|JS|II|RA)-[A-Za-z0-9]{20,}",
    "Datadog key": r"dd(?:p|w)_[A-Za-z0-9]{32,}",
    "Grafana token": r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/=]{32,}",
    "Sentry token": r"sntry[su]_[A-Za-z0-9+/=_-]{20,}",
    "Linear key": r"lin_(?:api|oauth)_[A-Za-z0-9]{30,}",
    "Notion token": r"ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}",
    "Figma token": r"figd_[A-Za-z0-9_-]{30,}",
    "Postman key": r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}",
    "PlanetScale token": r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{30,}",
    "Azure storage key": r"AccountKey=[A-Za-z0-9+/=]{40,}|SharedAccessKey=[A-Za-z0-9+/=]{20,}",
    "Azure secret": r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}",
    "Azure signature": r"[?&]sig=[A-Za-z0-9%+/=]{30,}",
    "Tailscale key": r"tskey-[a-z]+-[A-Za-z0-9]{6,}",
    "Netlify token": r"nf[pcobu]_[A-Za-z0-9]{36}",
    "Fly token": r"fo1_[A-Za-z0-9_-]{40,}|FlyV1 fm\d",
    "bearer or basic": r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9+/=_.~-]{12,}",
}
"""By who gives them out: how each kind of token looks."""

TOKEN: Final = re.compile("(?<![A-Za-z0-9])(?:" + "|".join(TOKENS.values()) + ")")

PRIVATE_KEYS: Final = {
    "PEM": r"BEGIN[-_ ](?:[A-Z0-9]+[-_ ])*PRIVATE[-_ ]KEY",
    "PuTTY": r"PuTTY-User-Key-File-\d",
    "age": r"AGE-SECRET-KEY-1[A-Z0-9]{10,}",
    "OpenSSH in base64": r"b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=]*",
    "DER in base64": r"(?<![A-Za-z0-9+/])M[A-Za-z0-9+/]{3,8}?(?:IBAA[JK]C|IBADAN|CAQEEI)[A-Za-z0-9+/]*",
    "JSON Web Key": r"\"d\"\s*:\s*\"[A-Za-z0-9_-]{30,}\"",
}
"""By format: how a private key begins."""

PRIVATE_KEY: Final = re.compile("|".join(PRIVATE_KEYS.values()))
